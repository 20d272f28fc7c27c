// The shell. A line is cut into tokens once and checked once; after that nothing in it can be wrong. It is run straight
// from the token array: each level finds its operators in a range of tokens and hands the pieces down, so there is no
// tree and no memory to run out of.
//
//   list      = condition { (";" | "&") [condition] }      in the shell itself, or behind "&" in a process of init's
//   condition = pipeline { ("&&" | "||") pipeline }
//   pipeline  = stage { "|" stage }                        each stage in a child; cd and exit alone in the shell
//   stage     = word { word | "<" word | ">" word | ">>" word }  |  "(" list ")" { redirection }
//
// 'text' and "text" are taken as they are, but $? is the last exit status outside of '...'. # begins a comment.
#include "kernel/types.h"
#include "kernel/fcntl.h"
#include "kernel/param.h"
#include "kernel/stat.h"
#include "user/user.h"

#define LINE 1024   // bytes in a line, terminator included
#define TOKENS 256  // in a line
#define WORDS 2048  // bytes in a command's arguments after expansion
#define DEPTH 6     // nested parentheses: each level costs stack
#define NOT_RUN 127 // status of a command that could not be started
#define BAD_LINE 2  // status of a line that was refused

// A set of kinds is a bit mask.
enum kind {
  WORD = 1,
  INPUT = 2,
  OUTPUT = 4,
  APPEND = 8,
  PIPE = 16,
  SEMICOLON = 32,
  BACKGROUND = 64,
  AND = 128,
  OR = 256,
  OPEN = 512,
  CLOSE = 1024,
  END = 2048,
};
#define REDIRECTION (INPUT | OUTPUT | APPEND)

struct token {
  enum kind kind;
  short start; // of a word: its text in line, quotes included
  short length;
};

static char line[LINE];
static struct token tokens[TOKENS];
static int status; // of the last pipeline

// Where lines come from. Bytes read beyond a line would be lost to the commands that share the input, so only the
// console (which gives one line at a time) and files opened by the shell for itself are read in chunks.
static struct {
  int fd;
  int chunk;  // bytes to ask for
  int prompt; // somebody is typing
  int used, filled;
  char bytes[512];
} input;

static int refuse(const char *why) {
  fprintf(2, "sh: %s\n", why);
  status = BAD_LINE;
  return -1;
}

// ---- Reading -------------------------------------------------------------------------------------------------------

static int next_byte(void) {
  if (input.used == input.filled) {
    input.used = 0;
    input.filled = read(input.fd, input.bytes, input.chunk);
    if (input.filled <= 0) {
      input.filled = 0;
      return -1;
    }
  }
  return (uchar)input.bytes[input.used++];
}

// Fills line, without its newline. 1, or 0 at the end of the input. A line too long is refused and read as empty.
static int read_line(void) {
  int n = 0, c;

  if (input.prompt)
    write(2, "$ ", 2);
  while ((c = next_byte()) >= 0 && c != '\n') {
    if (n < LINE)
      line[n] = c ? c : ' ';
    n += n < LINE;
  }
  if (n == LINE) {
    fprintf(2, "sh: line longer than %d bytes ignored\n", LINE - 1);
    status = BAD_LINE;
    n = 0;
  } else if (c < 0 && n == 0) {
    return 0;
  }
  line[n] = 0;
  return 1;
}

// ---- Tokens --------------------------------------------------------------------------------------------------------

static int is_blank(char c) {
  return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f';
}

// The operator at s and its length, or WORD.
static enum kind operator_at(const char *s, int *length) {
  static const struct {
    char text[3];
    enum kind kind;
  } operators[] = {{">>", APPEND}, {"&&", AND},      {"||", OR},        {"<", INPUT}, {">", OUTPUT},
                   {"|", PIPE},    {";", SEMICOLON}, {"&", BACKGROUND}, {"(", OPEN},  {")", CLOSE}};

  for (uint i = 0; i < sizeof(operators) / sizeof(operators[0]); i++) {
    *length = strlen(operators[i].text);
    if (memcmp(s, operators[i].text, *length) == 0)
      return operators[i].kind;
  }
  return WORD;
}

// Bytes of the word at s, or -1 if a quote is not closed.
static int word_length(const char *s) {
  const char *p = s;
  int length;

  while (*p && !is_blank(*p) && operator_at(p, &length) == WORD) {
    if (*p == '\'' || *p == '"') {
      p = strchr(p + 1, *p);
      if (p == 0)
        return -1;
    }
    p++;
  }
  return p - s;
}

// Cuts line into tokens, closed by END. Their number without END, or -1.
static int tokenize(void) {
  int n = 0;

  for (char *p = line;; n++) {
    while (is_blank(*p))
      p++;
    if (n == TOKENS)
      return refuse("too many words in a line");
    struct token *t = &tokens[n];
    t->start = p - line;
    if (*p == 0 || *p == '#') {
      t->kind = END;
      return n;
    }
    int length;
    t->kind = operator_at(p, &length);
    if (t->kind == WORD && (length = word_length(p)) < 0)
      return refuse("a quote is not closed");
    t->length = length;
    p += length;
  }
}

static int unexpected(const struct token *t) {
  if (t->kind == END)
    return refuse("the line ends too early");
  line[t->start + t->length] = 0;
  fprintf(2, "sh: unexpected \"%s\"\n", &line[t->start]);
  status = BAD_LINE;
  return -1;
}

// Is the line a list? 0, or -1 with a message. Holds what may come next, so it needs no recursion.
static int check(void) {
  const int first = WORD | REDIRECTION | OPEN;
  const int last = PIPE | AND | OR | SEMICOLON | BACKGROUND | CLOSE | END;
  int may = first | END, depth = 0;

  for (struct token *t = tokens;; t++) {
    enum kind kind = t->kind;
    if (!(kind & may) || (kind == CLOSE && depth == 0) || (kind == END && depth > 0))
      return unexpected(t);
    if (kind == END)
      return 0;
    depth += (kind == OPEN) - (kind == CLOSE);
    if (depth > DEPTH)
      return refuse("too many nested parentheses");
    if (kind & REDIRECTION && (++t)->kind != WORD)
      return unexpected(t);

    if (kind == WORD)
      may = WORD | REDIRECTION | last;
    else if (kind & REDIRECTION)
      may = (may & WORD) | REDIRECTION | last; // no word after ")"
    else if (kind == CLOSE)
      may = REDIRECTION | last;
    else if (kind & (SEMICOLON | BACKGROUND))
      may = first | CLOSE | END;
    else
      may = first;
  }
}

// The first token of these kinds in [lo, hi) outside of parentheses, or hi.
static int find(int lo, int hi, int kinds) {
  int depth = 0;

  for (; lo < hi; lo++) {
    if (depth == 0 && (tokens[lo].kind & kinds))
      break;
    depth += (tokens[lo].kind == OPEN) - (tokens[lo].kind == CLOSE);
  }
  return lo;
}

// ---- Words ---------------------------------------------------------------------------------------------------------

static char words[WORDS];
static int words_used;
static char *argv[MAXARG];

static int add_char(char c) {
  if (words_used == WORDS)
    return refuse("arguments too long");
  words[words_used++] = c;
  return 0;
}

static int add_status(void) {
  uint value = status < 0 ? -(uint)status : (uint)status, unit = 1;

  if (status < 0 && add_char('-') < 0)
    return -1;
  while (value / unit >= 10)
    unit *= 10;
  for (; unit > 0; unit /= 10)
    if (add_char('0' + value / unit % 10) < 0)
      return -1;
  return 0;
}

// The word as the command shall see it, kept in words; or 0 with a message.
static char *expand(const struct token *t) {
  int start = words_used;
  char quote = 0;

  for (const char *p = &line[t->start], *end = p + t->length; p < end; p++) {
    if ((*p == '\'' || *p == '"') && (quote == 0 || quote == *p)) {
      quote = quote ? 0 : *p;
    } else if (*p == '$' && p + 1 < end && p[1] == '?' && quote != '\'') {
      if (add_status() < 0)
        return 0;
      p++;
    } else if (add_char(*p) < 0) {
      return 0;
    }
  }
  return add_char(0) < 0 ? 0 : &words[start];
}

// Expands the words of a stage [lo, hi) into argv, leaving redirections out. Their number, or -1 with a message.
static int arguments(int lo, int hi) {
  int argc = 0;

  words_used = 0;
  for (int i = lo; i < hi; i++) {
    if (tokens[i].kind & REDIRECTION) {
      i++;
      continue;
    }
    if (argc == MAXARG - 1) {
      fprintf(2, "sh: a command takes at most %d words\n", MAXARG - 1);
      status = BAD_LINE;
      return -1;
    }
    if ((argv[argc++] = expand(&tokens[i])) == 0)
      return -1;
  }
  argv[argc] = 0;
  return argc;
}

// ---- Running -------------------------------------------------------------------------------------------------------

static void run_list(int lo, int hi);

// A child, or in the parent its pid, or -1 with a message.
static int spawn(void) {
  int pid = fork();

  if (pid < 0)
    refuse("cannot fork: out of processes or memory");
  if (pid == 0 && input.fd != 0)
    close(input.fd);
  return pid;
}

static void close_any(int fd) {
  if (fd >= 0)
    close(fd);
}

// Makes descriptor `to` what fd is, and closes fd. Nothing if there is no fd.
static void move(int fd, int to) {
  if (fd < 0 || fd == to)
    return;
  close(to);
  dup(fd); // takes the lowest free descriptor: those below `to` are open
  close(fd);
}

// There is no seek: a file's end is reached by reading.
static void go_to_end(int fd) {
  struct stat st;

  if (fstat(fd, &st) == 0 && st.type == T_FILE)
    while (read(fd, words, sizeof(words)) > 0)
      ;
}

// Kept out of the frame of run_stage(), of which there is one for each nested parenthesis on the one page of stack.
#define APART __attribute__((noinline))

// Carries out the redirections in [lo, hi). 0, or -1 with a message.
APART static int redirect(int lo, int hi) {
  for (int i = find(lo, hi, REDIRECTION); i < hi; i = find(i + 1, hi, REDIRECTION)) {
    enum kind kind = tokens[i].kind;
    int flags = kind == INPUT ? O_RDONLY : kind == OUTPUT ? O_WRONLY | O_CREATE | O_TRUNC : O_RDWR | O_CREATE;

    words_used = 0;
    char *path = expand(&tokens[i + 1]);
    if (path == 0)
      return -1;
    int fd = open(path, flags);
    if (fd < 0) {
      fprintf(2, "sh: cannot open %s\n", path);
      status = 1;
      return -1;
    }
    if (kind == APPEND)
      go_to_end(fd);
    move(fd, kind == INPUT ? 0 : 1);
  }
  return 0;
}

// exec() of a name without a slash also looks in the root directory, where the programs are.
APART static void execute(void) {
  static char path[MAXPATH] = "/";
  struct stat st;

  exec(argv[0], argv);
  if (!strchr(argv[0], '/') && strlen(argv[0]) < MAXPATH - 1) {
    strcpy(path + 1, argv[0]);
    exec(path, argv);
  }
  int exists = stat(argv[0], &st) == 0 || stat(path, &st) == 0;
  const char *why = !exists ? "not found" : st.type != T_FILE ? "not a file" : "not a program, or out of memory";
  fprintf(2, "sh: exec %s failed: %s\n", argv[0], why);
  exit(NOT_RUN);
}

// cd and exit. 1 if argv is one of them, and done.
static int builtin(int argc) {
  if (argc > 0 && strcmp(argv[0], "exit") == 0)
    exit(argc > 1 ? atoi(argv[1]) : status);
  if (argc == 0 || strcmp(argv[0], "cd") != 0)
    return 0;
  const char *path = argc > 1 ? argv[1] : "/";
  status = chdir(path) < 0;
  if (status)
    fprintf(2, "sh: cannot cd %s\n", path);
  return 1;
}

// Runs a stage in this process, which ends with it.
static void run_stage(int lo, int hi) {
  if (redirect(lo, hi) < 0)
    exit(status);
  if (tokens[lo].kind == OPEN) {
    run_list(lo + 1, find(lo + 1, hi, CLOSE));
    exit(status);
  }
  int argc = arguments(lo, hi);
  if (argc < 0)
    exit(status);
  if (argc == 0)
    exit(0);
  if (!builtin(argc))
    execute();
  exit(status);
}

static int is_word(int i, const char *text) {
  int length = strlen(text);

  return tokens[i].kind == WORD && tokens[i].length == length && memcmp(&line[tokens[i].start], text, length) == 0;
}

// cd and exit act on the shell itself if they are a pipeline of their own. 1 if [lo, hi) is one of them, and done.
static int run_here(int lo, int hi) {
  if ((!is_word(lo, "cd") && !is_word(lo, "exit")) || find(lo, hi, PIPE) < hi)
    return 0;
  int in = dup(0), out = dup(1);
  if (redirect(lo, hi) == 0) {
    int argc = arguments(lo, hi);
    if (argc > 0)
      builtin(argc);
  }
  move(in, 0);
  move(out, 1);
  return 1;
}

// Waits for n children, the first of which has pid first; the exit status of pid last is the pipeline's. The shell may
// have been given older children by exec(), which do not count.
static void wait_for(int n, int first, int last) {
  int pid, result;

  while (n > 0 && (pid = wait(&result)) >= 0) {
    n -= pid >= first;
    if (pid == last)
      status = result;
  }
}

static void run_pipeline(int lo, int hi) {
  int n = 0, first = 0, pid = 0, failed = 0;
  int from = -1; // the read end of the pipe behind the stage before, if there is one

  if (run_here(lo, hi))
    return;
  for (int end; lo < hi && !failed; lo = end + 1) {
    int fds[2] = {-1, -1};
    end = find(lo, hi, PIPE);
    if (end < hi && pipe(fds) < 0) {
      failed = refuse("cannot make a pipe: out of file descriptors or memory");
      break;
    }
    pid = spawn();
    if (pid == 0) {
      move(from, 0);
      if (fds[1] >= 0) {
        close(fds[0]);
        move(fds[1], 1);
      }
      run_stage(lo, end);
    }
    close_any(from);
    close_any(fds[1]);
    from = fds[0];
    failed = pid < 0;
    n += !failed;
    first = first ? first : pid;
  }
  close_any(from);
  wait_for(n, first, failed ? 0 : pid);
}

static void run_condition(int lo, int hi) {
  enum kind before = END;

  while (lo < hi) {
    int end = find(lo, hi, AND | OR);
    if (before == END || (before == AND) == (status == 0))
      run_pipeline(lo, end);
    before = tokens[end].kind;
    lo = end + 1;
  }
}

// Whoever runs it becomes init's child, and init reaps it: the shell waits only for what it started to wait for.
static void run_background(int lo, int hi) {
  int pid = spawn();

  if (pid == 0) {
    int runner = spawn();
    if (runner == 0) {
      if (find(lo, hi, PIPE | AND | OR) == hi)
        run_stage(lo, hi);
      run_condition(lo, hi);
      exit(status);
    }
    exit(runner < 0 ? BAD_LINE : 0);
  }
  if (pid > 0)
    wait_for(1, pid, pid);
}

static void run_list(int lo, int hi) {
  while (lo < hi) {
    int end = find(lo, hi, SEMICOLON | BACKGROUND);
    if (end < hi && tokens[end].kind == BACKGROUND)
      run_background(lo, end);
    else
      run_condition(lo, end);
    lo = end + 1;
  }
}

// ---- Starting ------------------------------------------------------------------------------------------------------

static void run_line(void) {
  int n = tokenize();

  if (n > 0 && check() == 0)
    run_list(0, n);
}

int main(int argc, char **args) {
  struct stat st;

  if (argc == 3 && strcmp(args[1], "-c") == 0) {
    if (strlen(args[2]) >= LINE) {
      fprintf(2, "sh: -c takes at most %d bytes\n", LINE - 1);
      exit(BAD_LINE);
    }
    strcpy(line, args[2]);
    run_line();
    exit(status);
  }
  if (argc > 2 || (argc == 2 && args[1][0] == '-')) {
    fprintf(2, "usage: sh [file | -c line]\n");
    exit(BAD_LINE);
  }
  if (argc == 2 && (input.fd = open(args[1], O_RDONLY)) < 0) {
    fprintf(2, "sh: cannot open %s\n", args[1]);
    exit(NOT_RUN);
  }
  int console = fstat(input.fd, &st) == 0 && st.type == T_DEVICE;
  input.prompt = console && argc == 1;
  input.chunk = console || argc == 2 ? sizeof(input.bytes) : 1;
  while (read_line())
    run_line();
  exit(status);
}

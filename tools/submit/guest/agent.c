// The first program of a probed guest: makes the calls the host asks for on the console and prints what came back.
// It judges nothing. It stands in for /init, uses no header and no library of the tree under test, and is compiled
// with that tree's system-call numbers (-DNUMBER_fork=1 ...).
//
// A line from the host is `ACTOR COMMAND ARGUMENTS`, numbers in hexadecimal without prefix. Actor 0 is the first child;
// others are forked later and get their lines through a pipe. An answer is one line, `@NONCE ACTOR COUNT VALUE [BYTES]
// $`; `a` asks for it again.
typedef unsigned char byte;
typedef unsigned long word;
typedef long number;

#define PAGE 4096
#define ACTORS 4 // besides actor 0
#define LINE 200
#define CALLS 4
#define FROM_RESULT 0xf0f0f0f0f0f0f0f0 // an argument that stands for the result of the call before

byte arena[16 * PAGE] __attribute__((aligned(PAGE))); // what probes share; its address is known from the symbol table
volatile word progress;                               // rounds of a loop done, for the host to watch
static char nonce[24] = "unset";
static number answers;
static int self; // this actor's number
static char last[LINE];
static number last_length;
static int lines_from;           // the file this actor gets its lines from
static int pipes[ACTORS + 1][2]; // to actor i
static word calls[CALLS][7];     // stored for `loop`

static number system_call(number n, word a, word b, word c, word d, word e, word f) {
  register word a0 asm("a0") = a, a1 asm("a1") = b, a2 asm("a2") = c, a3 asm("a3") = d, a4 asm("a4") = e;
  register word a5 asm("a5") = f, a7 asm("a7") = n;
  asm volatile("ecall" : "+r"(a0) : "r"(a1), "r"(a2), "r"(a3), "r"(a4), "r"(a5), "r"(a7) : "memory");
  return a0;
}

#define call0(name) system_call(NUMBER_##name, 0, 0, 0, 0, 0, 0)
#define call1(name, a) system_call(NUMBER_##name, (word)(a), 0, 0, 0, 0, 0)
#define call2(name, a, b) system_call(NUMBER_##name, (word)(a), (word)(b), 0, 0, 0, 0)
#define call3(name, a, b, c) system_call(NUMBER_##name, (word)(a), (word)(b), (word)(c), 0, 0, 0)

static char *put(char *to, const char *text) {
  while (*text)
    *to++ = *text++;
  return to;
}

static char *put_hex(char *to, word value, int digits) {
  for (int i = digits - 1; i >= 0; i--)
    *to++ = "0123456789abcdef"[value >> 4 * i & 15];
  return to;
}

// One write, so that the line stays whole: the result, and `n` bytes of memory at `bytes`.
static void answer(word value, const byte *bytes, int n) {
  char *end = put(last, "\n@");
  end = put(end, nonce);
  *end++ = ' ';
  end = put_hex(end, self, 1);
  *end++ = ' ';
  end = put_hex(end, ++answers, 4);
  *end++ = ' ';
  end = put_hex(end, value, 16);
  *end++ = ' ';
  for (int i = 0; i < n; i++)
    end = put_hex(end, bytes[i], 2);
  last_length = put(end, " $\n") - last;
  call3(write, 1, last, last_length);
}

static int read_line(char *line) {
  int n = 0;
  while (n < LINE - 1 && call3(read, lines_from, line + n, 1) == 1)
    if (line[n++] == '\n')
      break;
  line[n] = 0;
  return n;
}

static const char *word_of(const char *at, char *to) {
  while (*at == ' ')
    at++;
  while (*at > ' ')
    *to++ = *at++;
  *to = 0;
  return at;
}

static int digit(char c) {
  return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static const char *hex(const char *at, word *value) {
  while (*at == ' ')
    at++;
  *value = *at == 'R' ? FROM_RESULT : 0;
  while (*at == 'R')
    at++;
  for (; digit(*at) >= 0; at++)
    *value = *value * 16 + digit(*at);
  return at;
}

static void numbers(const char *at, word *values, int n) {
  for (int i = 0; i < n; i++)
    at = hex(at, &values[i]);
}

static void serve(void);

static void fork_actor(word i) {
  number pid = call0(fork);
  if (pid == 0) {
    lines_from = pipes[i][0];
    self = i;
    answers = 0;
    serve();
  }
  answer(pid, 0, 0);
}

// A child that only exists: it sleeps until it is killed, or leaves at once.
static void fork_idler(int leaves) {
  number pid = call0(fork);
  if (pid == 0) {
    while (!leaves)
      call1(sleep, 1);
    call1(exit, 0);
  }
  answer(pid, 0, 0);
}

static void run(const char *at) {
  char path[64], argument[64];
  char *argv[3] = {path, argument, 0};
  at = word_of(at, path);
  word_of(at, argument);
  if (argument[0] == 0)
    argv[1] = 0;
  number pid = call0(fork);
  if (pid == 0) {
    call2(exec, path, argv);
    call1(exit, 111);
  }
  answer(pid, 0, 0);
}

// The stored calls, again and again; the first argument of each grows by `stride` a round.
static void loop(word rounds, word count, word stride) {
  word done = 0;
  number result = 0;
  for (; done < rounds; done++, progress++)
    for (word i = 0; i < count && i < CALLS; i++) {
      word a[7];
      for (int k = 0; k < 7; k++)
        a[k] = calls[i][k] == FROM_RESULT ? (word)result : calls[i][k] + (k == 1 ? done * stride : 0);
      result = system_call(a[0], a[1], a[2], a[3], a[4], a[5], a[6]);
    }
  answer(result, 0, 0);
}

static void wait_any(void) {
  int status = -2;
  number pid = call1(wait, &status);
  answer(pid, (byte *)&status, sizeof(status));
}

static void poke(const char *at) {
  word where, pair;
  at = hex(at, &where);
  while (*at == ' ')
    at++;
  for (byte *to = (byte *)where; digit(at[0]) >= 0 && digit(at[1]) >= 0; at += 2) {
    pair = digit(at[0]) * 16 + digit(at[1]);
    *to++ = pair;
  }
  answer(0, 0, 0);
}

static void fill(const char *at) {
  word a[3];
  numbers(at, a, 3);
  for (word i = 0; i < a[1]; i++)
    ((volatile byte *)a[0])[i] = a[2] + i;
  answer(0, 0, 0);
}

static void obey(const char *line) {
  word a[8];
  char c = *line++;
  numbers(line, a, 7);
  switch (c) {
  case 'n':
    word_of(line, nonce);
    answer(call0(getpid), 0, 0);
    break;
  case 'c':
    answer(system_call(a[0], a[1], a[2], a[3], a[4], a[5], a[6]), 0, 0);
    break;
  case 'r':
    answer(0, (byte *)a[0], a[1] < 64 ? a[1] : 64);
    break;
  case 's':
    numbers(line, a, 8);
    for (int k = 0; k < 7; k++)
      calls[a[0] % CALLS][k] = a[k + 1];
    answer(0, 0, 0);
    break;
  case 'w':
    poke(line);
    break;
  case 'p':
    fill(line);
    break;
  case 'a':
    call3(write, 1, last, last_length);
    break;
  case 'l':
    loop(a[0], a[1], a[2]);
    break;
  case 'F':
    fork_actor(a[0]);
    break;
  case 'G':
    fork_idler(0);
    break;
  case 'g':
    fork_idler(1);
    break;
  case 'E':
    run(line);
    break;
  case 'W':
    wait_any();
    break;
  default:
    answer(-99, 0, 0);
  }
}

static void serve(void) {
  for (;;) {
    char line[LINE];
    int n = read_line(line);
    if (n < 4)
      continue;
    int actor = line[0] - '0';
    if (lines_from == 0 && actor >= 1 && actor <= ACTORS)
      call3(write, pipes[actor][1], line, n);
    else
      obey(line + 2);
  }
}

static void open_console(void) {
  if (call2(open, "console", 2) < 0) {
    call3(mknod, "console", 1, 0);
    call2(open, "console", 2);
  }
  call1(dup, 0);
  call1(dup, 0);
}

void start(void) {
  open_console();
  if (call0(fork) == 0) {
    for (int i = 1; i <= ACTORS; i++)
      call1(pipe, pipes[i]);
    answer(call0(getpid), 0, 0);
    serve();
  }
  for (;;) // as init does: take what orphans leave
    if (call1(wait, 0) < 0)
      call1(sleep, 1);
}

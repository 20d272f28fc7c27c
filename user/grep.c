// grep [-cnqv] pattern [file...]: prints the lines that match. Status 0: some did, 1: none, 2: trouble.
//
// A pattern is a row of atoms, each a set of bytes, perhaps repeated: c . [a-z] [^a-z] \c, then * for any number; ^ and
// $ at its ends tie it to the line's ends. All ways to match are followed at once as the bits of a word (bit i: atoms
// before i have matched), so a line costs time in proportion to its length, whatever the pattern.
#include "kernel/types.h"
#include "kernel/fcntl.h"
#include "user/user.h"

#define ATOMS 63 // a bit is left for "all matched"
#define FOUND 0
#define NONE 1
#define TROUBLE 2

struct atom {
  uint64 bytes[4]; // the set
  int repeats;     // followed by *
};

static struct {
  struct atom atoms[ATOMS];
  int n;
  int at_start, at_end; // ^ and $ were given
} pattern;

static struct { int count, number, quiet, invert; } options;

static void fail(const char *why, const char *what) {
  fprintf(2, "grep: %s %s\n", why, what);
  exit(TROUBLE);
}

// ---- Pattern -------------------------------------------------------------------------------------------------------

static void add(struct atom *a, uchar c) {
  a->bytes[c / 64] |= 1UL << (c % 64);
}

static int has(const struct atom *a, uchar c) {
  return a->bytes[c / 64] >> (c % 64) & 1;
}

static void complement(struct atom *a) {
  for (int i = 0; i < 4; i++)
    a->bytes[i] = ~a->bytes[i];
}

// Reads the set that begins behind '['; returns what follows ']'. A ']' that comes first is a member.
static const char *read_set(struct atom *a, const char *p, const char *whole) {
  int inverted = *p == '^';
  const char *first = p += inverted;

  for (; *p && (*p != ']' || p == first); p++) {
    uchar low = *p, high = low;
    if (p[1] == '-' && p[2] && p[2] != ']') {
      high = p[2];
      p += 2;
    }
    for (uint c = low; c <= high; c++)
      add(a, c);
  }
  if (*p != ']')
    fail("no ] in pattern", whole);
  if (inverted)
    complement(a);
  return p + 1;
}

static void read_pattern(const char *text) {
  const char *p = text;

  pattern.at_start = *p == '^';
  p += pattern.at_start;
  while (*p && !(p[0] == '$' && p[1] == 0)) {
    if (pattern.n == ATOMS)
      fail("too long a pattern", text);
    struct atom *a = &pattern.atoms[pattern.n++];
    if (*p == '.') {
      complement(a);
      p++;
    } else if (*p == '[') {
      p = read_set(a, p + 1, text);
    } else {
      p += p[0] == '\\' && p[1];
      add(a, *p++);
    }
    a->repeats = *p == '*';
    p += a->repeats;
  }
  pattern.at_end = *p == '$';
}

// ways, and those that get there by matching no byte: past atoms that may occur zero times.
static uint64 skip_repeats(uint64 ways) {
  for (int i = 0; i < pattern.n; i++)
    if (pattern.atoms[i].repeats)
      ways |= (ways >> i & 1) << (i + 1);
  return ways;
}

static int matches(const char *line, const char *end) {
  const uint64 start = skip_repeats(1), all = 1UL << pattern.n;
  uint64 ways = start;

  for (; line < end; line++) {
    if ((ways & all) && !pattern.at_end)
      return 1;
    uint64 next = 0;
    for (int i = 0; i < pattern.n; i++)
      if ((ways >> i & 1) && has(&pattern.atoms[i], *line))
        next |= pattern.atoms[i].repeats ? 1UL << i : 2UL << i;
    ways = skip_repeats(next) | (pattern.at_start ? 0 : start);
  }
  return (ways & all) != 0;
}

// ---- Lines ---------------------------------------------------------------------------------------------------------

// Bytes read and not yet dealt with: [buf, buf + filled), grown to hold the longest line.
static char *buf;
static int size, filled;

static char out[1024];
static int out_used;

static void flush(void) {
  if (write(1, out, out_used) != out_used)
    fail("cannot write", "output");
  out_used = 0;
}

static void put(const char *s, int n) {
  for (int part; n > 0; s += part, n -= part) {
    if (out_used == sizeof(out))
      flush();
    part = sizeof(out) - out_used;
    part = part < n ? part : n;
    memcpy(out + out_used, s, part);
    out_used += part;
  }
}

static void put_number(uint n) {
  char digits[10], *first = digits + sizeof(digits);

  do
    *--first = '0' + n % 10;
  while ((n /= 10) > 0);
  put(first, digits + sizeof(digits) - first);
}

static void make_room(const char *name) {
  if (filled < size)
    return;
  int new_size = size ? 2 * size : 4096;
  char *bigger = malloc(new_size);
  if (bigger == 0)
    fail("out of memory: a line is too long in", name);
  if (buf)
    memcpy(bigger, buf, filled);
  free(buf);
  buf = bigger;
  size = new_size;
}

// The line [line, end), number n, has no newline of its own if the file ends without one.
static int judge(const char *line, const char *end, uint n) {
  if (matches(line, end) == options.invert)
    return 0;
  if (!options.count && !options.quiet) {
    if (options.number) {
      put_number(n);
      put(":", 1);
    }
    put(line, end - line);
    put("\n", 1);
  }
  return 1;
}

// Output is held back only while there is input at hand: who types the input sees each line at once.
static int search(int fd, const char *name) {
  uint found = 0, lines = 0;
  int n;

  filled = 0;
  do {
    make_room(name);
    n = read(fd, buf + filled, size - filled);
    if (n < 0)
      fail("cannot read", name);
    char *line = buf, *p = buf + filled, *end = p + n;
    for (; p < end; p++)
      if (*p == '\n') {
        found += judge(line, p, ++lines);
        line = p + 1;
      }
    if (n == 0 && line < end)
      found += judge(line, end, ++lines);
    filled = end - line;
    memmove(buf, line, filled);
    flush();
  } while (n > 0 && !(found && options.quiet));
  if (options.count && !options.quiet) {
    put_number(found);
    put("\n", 1);
    flush();
  }
  return found > 0;
}

static char **read_options(char **argv) {
  for (; argv[1] && argv[1][0] == '-' && argv[1][1]; argv++)
    for (const char *p = argv[1] + 1; *p; p++) {
      options.count |= *p == 'c';
      options.number |= *p == 'n';
      options.quiet |= *p == 'q';
      options.invert |= *p == 'v';
      if (!strchr("cnqv", *p))
        fail("unknown option", argv[1]);
    }
  return argv + 1;
}

int main(int argc, char **argv) {
  int found = 0, trouble = 0;

  argv = read_options(argv);
  if (argc < 2 || *argv == 0) {
    fprintf(2, "usage: grep [-cnqv] pattern [file...]\n");
    exit(TROUBLE);
  }
  read_pattern(*argv++);
  if (*argv == 0)
    found = search(0, "standard input");
  for (; *argv; argv++) {
    int fd = open(*argv, O_RDONLY);
    if (fd < 0) {
      fprintf(2, "grep: cannot open %s\n", *argv);
      trouble = 1;
      continue;
    }
    found |= search(fd, *argv);
    close(fd);
  }
  return trouble ? TROUBLE : found ? FOUND : NONE;
}

// shmtrace's text: one aligned line per record, every argument shown as its kind in the event table says.
#include "user/shmtrace.h"
#include "kernel/param.h"
#include "kernel/riscv.h"
#include "user/user.h"

#define TICKS_PER_US 10

const struct trace_event_info event_table[] = TRACE_EVENT_TABLE;
const struct trace_value_info value_table[] = TRACE_VALUE_TABLE;
const int event_count = sizeof(event_table) / sizeof(event_table[0]);
const int value_count = sizeof(value_table) / sizeof(value_table[0]);
const uint64 event_table_size = sizeof(event_table);
const uint64 value_table_size = sizeof(value_table);

void fatal(const char *what, const char *which) {
  print_flush();
  fprintf(2, "shmtrace: %s%s\n", what, which);
  exit(1);
}

uint64 events_named(char *list) {
  uint64 mask = 0;
  while (list && *list) {
    char *comma = strchr(list, ',');
    if (comma)
      *comma = 0;
    uint64 found = 0;
    for (int i = 0; i < event_count; i++)
      if (strcmp(list, "all") == 0 || strcmp(list, event_table[i].name) == 0 ||
          strcmp(list, event_table[i].category) == 0)
        found |= 1UL << event_table[i].id;
    if (!found)
      fatal("no such event or category (-l lists them): ", list);
    mask |= found;
    list = comma ? comma + 1 : 0;
  }
  return mask;
}

static const struct trace_event_info *event_of(int id) {
  for (int i = 0; i < event_count; i++)
    if (event_table[i].id == id)
      return &event_table[i];
  return 0;
}

// Copies the word at s that ends before `end` or a terminator; returns what follows.
static const char *word(const char *s, char end, char *out, int max) {
  int n = 0;
  for (; *s && *s != end; s++)
    if (n < max - 1)
      out[n++] = *s;
  out[n] = 0;
  return *s ? s + 1 : s;
}

int arguments_of(const struct trace_record *r, struct argument out[TRACE_ARGS]) {
  const struct trace_event_info *event = event_of(r->event);
  const char *s = event ? event->arguments : "";
  int n = 0;
  for (; *s && n < TRACE_ARGS; n++) {
    s = word(s, ':', out[n].name, sizeof(out[n].name));
    s = word(s, ' ', out[n].kind, sizeof(out[n].kind));
    out[n].value = r->args[n];
  }
  return n;
}

// Names of processes over time: as long as records come in order, this is who they were.
static struct {
  int pid;
  char name[16];
} names[2 * NPROC];
static int oldest;

const char *name_of(int pid) {
  if (pid == 0)
    return "-";
  for (int i = 0; i < 2 * NPROC; i++)
    if (names[i].pid == pid)
      return names[i].name;
  return "?";
}

void name_process(int pid, const char *name) {
  int i;
  for (i = 0; i < 2 * NPROC && names[i].pid != pid; i++)
    ;
  if (i == 2 * NPROC)
    i = oldest++ % (2 * NPROC);
  names[i].pid = pid;
  word(name, '\n', names[i].name, sizeof(names[i].name));
}

void learn_names(const struct trace_record *r) {
  if (r->event == TRACE_FORK)
    name_process(r->args[0], name_of(r->pid));
  if (r->event == TRACE_EXEC) {
    char name[17] = {0};
    memmove(name, &r->args[1], 16);
    name_process(r->pid, name);
  }
}

// Output, gathered so that a line is never torn by another process's.
static char out[2048];
static int used;

void print_flush(void) {
  if (used > 0)
    write(1, out, used);
  used = 0;
}

static void put(char c) {
  if (used == sizeof(out))
    print_flush();
  out[used++] = c;
}

void print_text(const char *s) {
  while (*s)
    put(*s++);
}

static void put_padded(const char *s, int width) {
  print_text(s);
  for (int n = strlen(s); n < width; n++)
    put(' ');
}

static void put_number(uint64 value, int base, int width, char fill) {
  char digits[20];
  int n = 0;
  do
    digits[n++] = "0123456789abcdef"[value % base];
  while ((value /= base) != 0);
  for (; width > n; width--)
    put(fill);
  while (n > 0)
    put(digits[--n]);
}

static void put_signed(long value) {
  if (value < 0)
    put('-');
  put_number(value < 0 ? -(uint64)value : (uint64)value, 10, 0, ' ');
}

static void put_hex(uint64 value) {
  print_text("0x");
  put_number(value, 16, 0, ' ');
}

static void put_pte(uint64 bits) {
  static const struct {
    uint64 bit;
    char letter;
  } letters[] = {{PTE_R, 'r'}, {PTE_W, 'w'}, {PTE_X, 'x'}, {PTE_U, 'u'}, {PTE_S, 'S'}, {PTE_COW, 'C'}};
  for (uint i = 0; i < sizeof(letters) / sizeof(letters[0]); i++)
    put(bits & letters[i].bit ? letters[i].letter : '-');
}

static void put_characters(const uint64 *slots, int n) {
  const char *s = (const char *)slots;
  put('"');
  for (int i = 0; i < 8 * n && s[i]; i++)
    put(s[i] >= ' ' && s[i] <= '~' ? s[i] : '.');
  put('"');
}

static int put_value_name(const char *set, uint64 value) {
  for (int i = 0; i < value_count; i++)
    if (value_table[i].value == value && strcmp(value_table[i].set, set) == 0) {
      print_text(value_table[i].name);
      return 1;
    }
  return 0;
}

static void put_argument(const struct argument *a) {
  if (strcmp(a->kind, "pid") == 0) {
    put_signed((int)a->value);
    if (a->value != 0) {
      put(':');
      print_text(name_of(a->value));
    }
  } else if (strcmp(a->kind, "n") == 0 || strcmp(a->kind, "bytes") == 0) {
    put_number(a->value, 10, 0, ' ');
  } else if (strcmp(a->kind, "int") == 0) {
    put_signed(a->value);
  } else if (strcmp(a->kind, "pte") == 0) {
    put_pte(a->value);
  } else if (strcmp(a->kind, "ticks") == 0) {
    put_number(a->value / TICKS_PER_US, 10, 0, ' ');
    put('.');
    put_number(a->value % TICKS_PER_US, 10, 0, ' ');
    print_text("us");
  } else if (!put_value_name(a->kind, a->value)) {
    put_hex(a->value);
  }
}

void print_heading(void) {
  print_text("        time  hart   pid program         event         arguments\n");
}

void print_record(const struct trace_record *r, const char *remark) {
  const struct trace_event_info *event = event_of(r->event);
  struct argument args[TRACE_ARGS];
  uint64 us = r->time / TICKS_PER_US;
  put_number(us / 1000000, 10, 5, ' ');
  put('.');
  put_number(us % 1000000, 10, 6, '0');
  put_number(r->hart, 10, 6, ' ');
  put_number(r->pid, 10, 6, ' ');
  put(' ');
  put_padded(name_of(r->pid), 15);
  put(' ');
  put_padded(event ? event->name : "unknown", 13);
  int n = arguments_of(r, args);
  for (int i = 0; i < n; i++) {
    put(' ');
    print_text(args[i].name);
    put('=');
    if (strcmp(args[i].kind, "text") == 0)
      put_characters(&r->args[i], event->count - i);
    else
      put_argument(&args[i]);
  }
  if (remark) {
    print_text("   # ");
    print_text(remark);
  }
  put('\n');
}

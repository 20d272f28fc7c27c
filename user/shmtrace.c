// shmtrace: shows what the kernel's trace rings recorded, follows them, or traces one command and its children.
// It never writes to the rings; -E and -d choose what is recorded from then on.
#include "user/shmtrace.h"
#include "kernel/info.h"
#include "kernel/param.h"
#include "user/user.h"

static const char usage[] =
    "usage: shmtrace [-f] [-c] [-n COUNT] [-e EVENTS] [-p PID] [-w FILE] [COMMAND ARGUMENTS...]\n"
    "       shmtrace -E EVENTS | -d EVENTS | -m TEXT | -l\n"
    "  without a command: what happened so far, newest last; with one: what it and its children do\n"
    "  -f         follow until Enter is typed      -n COUNT  stop after COUNT events\n"
    "  -e EVENTS  only these; with a command or -f they are recorded meanwhile\n"
    "  -p PID     only what concerns this process  -w FILE   save instead of showing\n"
    "  -c         counts and latencies instead     -l        list events and whether they are recorded\n"
    "  -E, -d     record, do not record EVENTS from now on\n"
    "  -m TEXT    records TEXT as a note, to find a place again\n"
    "  EVENTS are names or categories, separated by commas, or all\n";

static struct {
  int follow, count, list;
  long limit;
  uint64 events; // shown
  uint64 wanted; // named by -e
  int pid;
  char *save;
  char **command;
} options = {.limit = -1, .events = -1UL};

// The processes that a trace of one of them is about.
static int traced[NPROC], traced_count;
static int command_pid, command_ended;
static long shown;

static int is_traced(int pid) {
  for (int i = 0; i < traced_count; i++)
    if (traced[i] == pid)
      return 1;
  return 0;
}

static void add_traced(int pid) {
  if (!is_traced(pid) && traced_count < NPROC)
    traced[traced_count++] = pid;
}

// A record concerns the traced processes if one of them emitted it, is an argument, or waits for the server's work.
static int concerns(const struct trace_record *r) {
  struct argument args[TRACE_ARGS];
  if (traced_count == 0 || is_traced(r->pid) || (r->pid && is_traced(client_of_server(r->pid))))
    return 1;
  int n = arguments_of(r, args);
  for (int i = 0; i < n; i++)
    if (strcmp(args[i].kind, "pid") == 0 && is_traced(args[i].value))
      return 1;
  return 0;
}

static void show(struct trace_record *r) {
  enum step step = step_of(r);
  learn_names(r);
  if (r->event == TRACE_FORK && options.command && is_traced(r->pid))
    add_traced(r->args[0]);
  if (r->event == TRACE_EXIT && r->pid == command_pid)
    command_ended = 1;
  int wanted = (options.events >> r->event & 1) && concerns(r) && (options.limit < 0 || shown < options.limit);
  if (wanted) {
    shown++;
    if (options.save)
      save_records(r, 1);
    else if (!options.count)
      print_record(r, step_text(step));
  }
  if (wanted || step == RELEASED)
    count_record(r, step);
}

static void show_all(void) {
  struct trace_record *r;
  while ((r = next_record()) != 0)
    show(r);
  print_flush();
}

static int is_zombie(int pid) {
  static struct procinfo rows[NPROC];
  int n = procinfo(rows, NPROC);
  for (int i = 0; i < n; i++)
    if (rows[i].pid == pid)
      return rows[i].state == ZOMBIE;
  return 1;
}

// Runs the command and shows records until it has ended; returns its exit status.
static int trace_command(void) {
  int status = 1, pid = fork();
  if (pid < 0)
    fatal("cannot fork", "");
  if (pid == 0) {
    exec(options.command[0], options.command);
    fatal("no such program: ", options.command[0]);
  }
  command_pid = pid;
  add_traced(pid);
  name_process(pid, "shmtrace");
  while (!command_ended && !is_zombie(pid)) {
    sleep(1);
    read_more();
    show_all();
  }
  for (int ended = 0; ended != pid && ended >= 0;)
    ended = wait(&status);
  return status;
}

// A child that ends when Enter is typed.
static int key_waiter(void) {
  int pid = fork();
  char c;
  if (pid == 0) {
    while (read(0, &c, 1) == 1 && c != '\n')
      ;
    exit(0);
  }
  return pid;
}

static void follow(void) {
  int keys = options.limit < 0 ? key_waiter() : 0;
  do {
    read_more();
    show_all();
    sleep(1);
  } while (options.limit >= 0 ? shown < options.limit : !is_zombie(keys));
  if (keys > 0)
    wait(0);
}

static void report_losses(void) {
  uint64 lost = 0;
  for (int i = 0; i < hart_count; i++)
    if (lost_on(i)) {
      lost += lost_on(i);
      fprintf(2, "shmtrace: hart %d: %lu older events were overwritten before they could be read\n", i, lost_on(i));
    }
  if (lost == 0 && options.save)
    printf("%ld events saved in %s\n", shown, options.save);
  else if (options.save)
    printf("%ld events saved in %s, %lu lost\n", shown, options.save, lost);
}

// Says which of the events asked for nobody records.
static void report_unrecorded(uint64 mask) {
  uint64 missing = options.events == -1UL ? 0 : options.events & ~mask;
  for (int i = 0; i < event_count; i++)
    if (missing >> event_table[i].id & 1)
      fprintf(2, "shmtrace: %s is not recorded; shmtrace -E %s begins to\n", event_table[i].name, event_table[i].name);
}

static void list_events(void) {
  uint64 mask = trace_control(TRACE_GET_MASK, 0);
  printf("%-13s %-9s %-9s %s\n", "event", "category", "recorded", "arguments");
  for (int i = 0; i < event_count; i++)
    printf("%-13s %-9s %-9s %s\n", event_table[i].name, event_table[i].category,
           mask >> event_table[i].id & 1 ? "yes" : "no", event_table[i].arguments);
}

static void change_mask(uint64 on, uint64 off) {
  uint64 mask = trace_control(TRACE_GET_MASK, 0);
  trace_control(TRACE_SET_MASK, (mask | on) & ~off);
}

static void note(const char *text) {
  uint64 words[TRACE_ARGS] = {0};
  int n = strlen(text);
  memmove(words, text, n < (int)sizeof(words) ? n : (int)sizeof(words));
  trace_mark(TRACE_NOTE, words[0], words[1], words[2], words[3], words[4]);
}

static void bad_usage(void) {
  fprintf(2, "%s", usage);
  exit(2);
}

static long number(const char *s) {
  long value = 0;
  if (!*s)
    bad_usage();
  for (; *s; s++) {
    if (*s < '0' || *s > '9' || value > 1000000000)
      bad_usage();
    value = value * 10 + *s - '0';
  }
  return value;
}

// -> whether there is anything to show.
static int parse(int argc, char **argv) {
  int i, changed = 0;
  for (i = 1; i < argc && argv[i][0] == '-'; i++) {
    char letter = argv[i][1] && !argv[i][2] ? argv[i][1] : 0;
    int takes_value = letter && strchr("nepwEdm", letter) != 0;
    char *value = takes_value ? argv[++i] : 0;
    if (takes_value && (i >= argc || !value))
      bad_usage();
    switch (letter) {
    case 'f':
      options.follow = 1;
      break;
    case 'c':
      options.count = 1;
      break;
    case 'l':
      options.list = 1;
      break;
    case 'n':
      options.limit = number(value);
      break;
    case 'e':
      options.events = options.wanted = events_named(value);
      break;
    case 'p':
      options.pid = number(value);
      break;
    case 'w':
      options.save = value;
      break;
    case 'm':
      note(value);
      changed = 1;
      break;
    case 'E':
      change_mask(events_named(value), 0);
      changed = 1;
      break;
    case 'd':
      change_mask(0, events_named(value));
      changed = 1;
      break;
    default:
      bad_usage();
    }
  }
  if (i < argc)
    options.command = argv + i;
  return !changed || i < argc || options.follow;
}

int main(int argc, char **argv) {
  int status = 0;
  if (!parse(argc, argv))
    return 0;
  if (options.list) {
    list_events();
    return 0;
  }
  int live = options.command || options.follow;
  uint64 mask = trace_control(TRACE_GET_MASK, 0);
  read_open(live);
  if (options.pid)
    add_traced(options.pid);
  if (options.save)
    save_open(options.save);
  else if (!options.count)
    print_heading();
  if (live && options.wanted)
    trace_control(TRACE_SET_MASK, mask | options.wanted | 1UL << TRACE_FORK | 1UL << TRACE_EXEC | 1UL << TRACE_EXIT);
  if (options.command)
    status = trace_command();
  else if (options.follow)
    follow();
  if (live && options.wanted)
    trace_control(TRACE_SET_MASK, mask);
  read_more();
  show_all();
  if (options.save)
    save_close();
  else if (options.count)
    print_counts();
  report_losses();
  if (!live)
    report_unrecorded(mask);
  return status < 0 ? 1 : status;
}

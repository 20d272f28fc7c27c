// The failures that debug builds make on purpose (lib/failpoint.h), and the device that steers them. A process that
// writes one of these lines to it is a victim from then on, and so are its children:
//   KIND N       the Nth allocation of that kind fails, counted from 1
//   KIND N on    and all that follow
//   KIND new     the first one fails that comes by a path of calls by which none has failed yet
//   any new      the same of whatever kind but write, which the file system never recovers from
//   off          none fails any more
//   forget       every path is new again
//   kill         all victims but the caller are killed
// Reading gives one line: the kind that failed, or that was armed if none did; how many allocations of the armed kind
// victims have asked for, how many failed, and for the last one that failed: the system call it was in (0: none, a page
// fault), what that returned, the path.
#include "kernel/lib/failpoint.h"
#include "kernel/file.h"
#include "kernel/ipc/server.h"
#include "kernel/lib/lib.h"
#include "kernel/mm/user.h"
#include "kernel/proc/proc.h"

#ifdef DEBUG

#define DEPTH 14     // return addresses of a path
#define PATHS 4096   // a power of two
#define LINE_MAX 512 // bytes, either way

static const char *const names[] = {
#define X(name) [FAIL_##name] = #name,
    FAIL_KINDS(X)
#undef X
        "any",
};
#define ANY FAIL_KIND_COUNT

enum mode { OFF, NTH, FROM_NTH, NEW_PATH };

// One plan at a time, made by one driver; the fields that victims change are atomic.
static struct {
  int mode;            // enum mode; OFF last when a plan is made
  enum fail_kind kind; // or ANY
  uint64 n;
  uint64 asked;  // atomic
  uint64 failed; // atomic
} plan;

// The last failure. Its process alone writes it, but for two at the same moment in FROM_NTH, where either is right.
static struct {
  struct proc *process;
  enum fail_kind kind;
  uint64 call;   // 0: not in a system call
  uint64 result; // of that
  int returned;
  int depth;
  uint64 path[DEPTH];
} failure;

static uint64 seen[PATHS]; // hashes of the paths that have failed, 0 where there is none; atomic
static struct {
  int victim;
  uint64 call; // the one it is in, 0 if none
} of[NPROC];   // each process's own, but for kill

static int is_victim(struct proc *p) {
  return p && (of[p - proc].victim || is_server(p));
}

// 1 if this path has not been here before; it has from now on.
static int is_new(enum fail_kind kind, const uint64 *path, int depth) {
  uint64 hash = kind + 1;
  for (int i = 0; i < depth; i++)
    hash = (hash ^ path[i]) * 0x100000001b3;
  hash |= 1; // not 0
  for (uint64 i = 0, at = hash >> 20; i < PATHS; i++, at++) {
    uint64 empty = 0, *slot = &seen[at % PATHS];
    if (__atomic_compare_exchange_n(slot, &empty, hash, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
      return 1;
    if (empty == hash)
      return 0;
  }
  return 0; // more paths than can be told apart
}

int fail_here(enum fail_kind kind) {
  int mode = __atomic_load_n(&plan.mode, __ATOMIC_ACQUIRE);
  int meant = kind == plan.kind || (plan.kind == ANY && kind != FAIL_write);
  struct proc *p = mode != OFF && meant ? myproc() : 0;
  if (!is_victim(p))
    return 0;
  uint64 path[DEPTH] = {0};
  uint64 count = __atomic_add_fetch(&plan.asked, 1, __ATOMIC_RELAXED);
  int depth = backtrace(__builtin_frame_address(0), path, DEPTH);
  if (mode == NEW_PATH ? !is_new(kind, path, depth) : mode == NTH ? count != plan.n : count < plan.n)
    return 0;
  if (mode != FROM_NTH && __atomic_exchange_n(&plan.mode, OFF, __ATOMIC_RELAXED) == OFF)
    return 0;
  __atomic_fetch_add(&plan.failed, 1, __ATOMIC_RELAXED);
  failure.process = p;
  failure.kind = kind;
  failure.call = of[p - proc].call;
  failure.returned = 0;
  failure.depth = depth;
  memmove(failure.path, path, depth * sizeof(path[0]));
  return 1;
}

void fail_inherit(struct proc *parent, struct proc *child) {
  of[child - proc].victim = of[parent - proc].victim;
  of[child - proc].call = 0;
}

void fail_call_begins(uint64 number) {
  of[myproc() - proc].call = number;
}

void fail_call_ends(uint64 result) {
  struct proc *p = myproc();
  if (failure.process == p && failure.call && !failure.returned) {
    failure.result = result;
    failure.returned = 1;
  }
  of[p - proc].call = 0;
}

// ---- the device ----

// Cuts the next word off a line.
static char *next_word(char **line) {
  char *word = *line;
  while (**line && **line != ' ' && **line != '\n')
    ++*line;
  while (**line == ' ' || **line == '\n')
    *(*line)++ = 0;
  return word;
}

static int is(const char *a, const char *b) {
  return strncmp(a, b, LINE_MAX) == 0;
}

static uint64 number(const char *s) {
  uint64 n = 0;
  for (; *s >= '0' && *s <= '9'; s++)
    n = n * 10 + *s - '0';
  return n;
}

static int kill_victims(void) {
  for (struct proc *p = proc; p < &proc[NPROC]; p++)
    if (of[p - proc].victim && p != myproc())
      kill(p->pid);
  return 0;
}

// Makes the plan that a kind's line describes: 0, or -1.
static int arm(const char *kind, const char *which, int on) {
  int k = 0;
  while (k <= ANY && !is(kind, names[k]))
    k++;
  int mode = is(which, "new") ? NEW_PATH : on ? FROM_NTH : NTH;
  if (k > ANY || (k == ANY && mode != NEW_PATH) || (mode != NEW_PATH && number(which) == 0))
    return -1;
  plan.kind = k;
  plan.n = number(which);
  plan.asked = plan.failed = failure.call = 0;
  failure.process = 0;
  of[myproc() - proc].victim = 1;
  __atomic_store_n(&plan.mode, mode, __ATOMIC_RELEASE);
  return 0;
}

static int failpoint_write(struct span src) {
  char line[LINE_MAX + 1] = {0}, *rest = line;
  if (src.size > LINE_MAX || span_read(line, src, 0, src.size) < 0)
    return -1;
  char *command = next_word(&rest), *which = next_word(&rest), *on = next_word(&rest);
  int result = 0;
  __atomic_store_n(&plan.mode, OFF, __ATOMIC_RELAXED);
  if (is(command, "forget"))
    memset(seen, 0, sizeof(seen));
  else if (is(command, "kill"))
    result = kill_victims();
  else if (!is(command, "off"))
    result = arm(command, which, is(on, "on"));
  return result < 0 ? -1 : (int)src.size;
}

static int append(char *line, int length, const char *format, ...) {
  va_list args;
  va_start(args, format);
  length += vformat(line + length, LINE_MAX - length, format, args);
  va_end(args);
  return length;
}

static int failpoint_read(struct span dst) {
  char line[LINE_MAX];
  int n = append(line, 0, "%s asked %lu failed %lu", names[failure.process ? failure.kind : plan.kind], plan.asked,
                 plan.failed);
  if (failure.process) {
    n = append(line, n, " call %lu %s %ld path", failure.call, failure.returned ? "result" : "open",
               (long)failure.result);
    for (int i = 0; i < failure.depth; i++)
      n = append(line, n, " 0x%lx", failure.path[i]);
  }
  n = append(line, n, "\n");
  if ((uint64)n > dst.size)
    n = dst.size;
  return span_write(dst, 0, line, n) < 0 ? -1 : n;
}

void failpoint_init(void) {
  devsw[FAILPOINT].read = failpoint_read;
  devsw[FAILPOINT].write = failpoint_write;
}

#endif

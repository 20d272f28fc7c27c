// fuzz: the grammar of arguments, and one random call. Each call's arguments are a string of kinds, one letter each
// (make_argument()); now and then a value of another kind, or a wild one, stands in its place.
#include "kernel/crypto.h"
#include "kernel/fcntl.h"
#include "kernel/lib/failpoint.h"
#include "kernel/memlayout.h"
#include "kernel/param.h"
#include "kernel/riscv.h"
#include "kernel/syscall.h"
#include "user/dice.h"
#include "user/fuzz.h"
#include "user/user.h"

_Static_assert(sizeof(struct fuzz_shared) <= FUZZ_FIRST, "what is shared about the run is not for calls to overwrite");

struct call {
  const char *args;
  int weight; // how often, relative to others; 0: never
};

#define NUMBERS 64
static const struct call calls[NUMBERS] = {
    [SYS_fork] = {"", 2},
    [SYS_exit] = {"i", 1},
    [SYS_wait] = {"p", 3},
    [SYS_pipe] = {"p", 6},
    [SYS_read] = {"fpn", 16},
    [SYS_kill] = {"k", 1},
    [SYS_exec] = {"sv", 2},
    [SYS_fstat] = {"fp", 8},
    [SYS_chdir] = {"s", 6},
    [SYS_dup] = {"f", 8},
    [SYS_getpid] = {"", 2},
    [SYS_sbrk] = {"gw", 14},
    [SYS_sleep] = {"t", 1},
    [SYS_uptime] = {"", 2},
    [SYS_open] = {"so", 20},
    [SYS_write] = {"fpn", 16},
    [SYS_mknod] = {"sdd", 4},
    [SYS_unlink] = {"s", 12},
    [SYS_link] = {"ss", 8},
    [SYS_mkdir] = {"s", 6},
    [SYS_close] = {"f", 8},
    [SYS_sync] = {"", 1},
    [SYS_crypto_op] = {"rn", 10},
    [SYS_take_shared_memory_request] = {"pp", 3},
    [SYS_remove_shared_memory_request] = {"pn", 3},
    [SYS_map_shared_pages] = {"kkpn", 24},
    [SYS_unmap_shared_pages] = {"kpn", 20},
    [SYS_fsync] = {"f", 1},
    [SYS_crypto_wait] = {"r", 8},
    [SYS_trace_mark] = {"iiiiii", 4},
    [SYS_trace_control] = {"hi", 4},
    [SYS_trace_read] = {"hppn", 6},
    [SYS_procinfo] = {"pn", 1},
    [SYS_meminfo] = {"p", 1},
    [SYS_shutdown] = {"", 0}, // does what it says
};

static const struct {
  int number;
  const char *name;
} table[] = {
#define X(number, name) {number, #name},
    SYSCALLS(X)
#undef X
};
#define CALLS (sizeof(table) / sizeof(table[0]))

const char *call_without_grammar(void) {
  for (uint i = 0; i < CALLS; i++)
    if (!calls[table[i].number].args)
      return table[i].name;
  return 0;
}

// ---- values ----

#define KEPT 8
static uint64 mapped[KEPT]; // addresses that map_shared_pages() gave this process
static uint64 grown;        // bytes of heap this process has got
static int last_pid;        // of a child

// What the processes decide by: their data, their stack and the first of the shared pages, all in one stretch behind
// the text. No call may write there, nor map it or take it away; else the run would be judged by noise, and a process
// apart taken for anybody. What calls may write lies behind it, so a length that is too long leads away from it.
extern char etext[];

static uint64 keep_start(void) {
  return PGROUNDUP((uint64)etext);
}

static uint64 keep_end(void) {
  return (uint64)shared + FUZZ_FIRST;
}

static int is_kept(uint64 address, uint64 bytes) {
  return address < keep_end() && address + bytes > keep_start();
}

static uint64 arena(void) {
  return keep_end() + dice((FUZZ_PAGES - 1) * PGSIZE - 64);
}

// Memory of this process alone, with `last` bytes behind the address: the foreman gets it before it forks anybody.
static uint64 own(uint64 last) {
  return (uint64)shared + FUZZ_PAGES * PGSIZE + dice(FUZZ_OWN * PGSIZE - last);
}

static uint64 wild(void) {
  static const uint64 values[] = {0,           1,
                                  7,           PGSIZE - 1,
                                  PGSIZE,      ~0UL,
                                  ~0UL - 7,    -PGSIZE,
                                  1UL << 63,   (1UL << 63) - 1,
                                  1UL << 31,   (1UL << 31) - 1,
                                  1UL << 32,   1UL << 39,
                                  1UL << 38,   MAXVA,
                                  MAXVA - 1,   USERTOP,
                                  USERTOP - 1, USERTOP - PGSIZE,
                                  TRAMPOLINE,  KERNBASE,
                                  DIRECT_MAP,  DIRECT_MAP + KERNBASE,
                                  KSTACK_BASE, UART0};
  uint64 value = dice(4) ? PICK(values) + (dice(3) ? 0 : dice(32) - 16) : dice_any() >> dice(64);
  return is_kept(value, 1) ? arena() : value;
}

// So many bytes below the end of memory.
static uint64 near_the_end(uint64 n) {
  uint64 end = (uint64)sbrk(0);
  return n < end && end - n >= keep_end() ? end - n : end;
}

static uint64 pointer(void) {
  switch (dice(16)) {
  case 0:
    return wild();
  case 1:
    return near_the_end(dice(3 * PGSIZE));
  case 2:
    return near_the_end(dice(20) * PGSIZE + dice(PGSIZE));
  case 3:
  case 4:
    return PICK(mapped) + dice(PGSIZE);
  case 5:
    return (uint64)random_call + dice(64); // text
  case 6:
  case 7:
  case 8:
    return own(64);
  default:
    return arena() & (dice(2) ? ~0UL : ~(PGSIZE - 1UL));
  }
}

static uint64 size(void) {
  static const uint64 edges[] = {0, 1, 8, 16, 24, 511, 512, 1024, 4095, 4096, 4097, 8192, 20000, 3 * PGSIZE};
  return dice(10) == 0 ? wild() : dice(2) ? PICK(edges) : dice(2000);
}

// A path where others may rewrite it while the kernel reads it, or where nobody does.
static uint64 path(void) {
  static const char *const names[] = {"a",      "b",   "c",     "d",           "d/a",
                                      "d/b",    "d/e", "d/e/f", "..",          ".",
                                      "/",      "",    "d/",    "//",          "d/.",
                                      "a/b",    "x/y", "./a",   "d/../c",      "e",
                                      "d/e/..", "e/e", "../..", "../fuzz.d/b", "a-name-longer-than-a-directory-keeps"};
  if (dice(12) == 0)
    return pointer();
  const char *name = PICK(names);
  if (dice(2))
    return (uint64)name;
  char *copy = (char *)arena();
  memmove(copy, name, strlen(name) + 1);
  return (uint64)copy;
}

static uint64 program(void) {
  static const char *const names[] = {"/echo", "/wc", "/cat", "/fuzz", "/shmem_test1", "/crypto_srv", "/free"};
  return dice(3) ? (uint64)PICK(names) : path();
}

static uint64 argument_vector(void) {
  static char *few[] = {"one", "two", 0};
  uint64 *vector = (uint64 *)(arena() & ~7UL);
  if (dice(4))
    return (uint64)few;
  for (uint64 i = 0, n = dice(40); i < n && (uint64)(vector + i + 1) < (uint64)shared + FUZZ_PAGES * PGSIZE; i++)
    vector[i] = dice(8) ? path() : pointer();
  return dice(8) ? (uint64)vector : pointer();
}

static uint64 request(void) {
  struct crypto_op *op = (struct crypto_op *)((dice(2) ? arena() : own(PGSIZE)) & ~7UL);
  op->type = dice(8) ? 1 + dice(2) : dice_any();
  op->state = dice(8) ? CRYPTO_OP_STATE_INIT : dice_any();
  op->key_size = dice(6) ? 1 + dice(40) : wild();
  op->data_size = dice(6) ? dice(3000) : wild();
  return dice(8) ? (uint64)op : pointer();
}

static uint64 process(void) {
  switch (dice(8)) {
  case 0:
    return wild();
  case 1:
    return dice(4);
  case 2:
    return dice(2) ? shared->owner : shared->foreman;
  case 3:
    return last_pid;
  case 4:
  case 5:
    return shared->slot[dice(FUZZ_SLOTS)].pid;
  default:
    return getpid();
  }
}

static uint64 growth(void) {
  if (dice(60) == 0)
    return wild();
  if (dice(2) || grown == 0)
    return dice(10) ? dice(6 * PGSIZE) : dice(1 << 21);
  return -(dice(grown) + 1);
}

static uint64 make_argument(char kind) {
  static const uint64 flags[] = {O_RDONLY,          O_WRONLY,          O_RDWR,
                                 O_CREATE | O_RDWR, O_CREATE | O_RDWR, O_CREATE | O_TRUNC | O_RDWR,
                                 O_TRUNC,           O_WRONLY | O_TRUNC};
  if (dice(24) == 0)
    return dice(2) ? wild() : pointer();
  switch (kind) {
  case 'f':
    return dice(NOFILE + 1);
  case 'p':
    return pointer();
  case 'n':
    return size();
  case 's':
    return path();
  case 'v':
    return argument_vector();
  case 'o':
    return PICK(flags);
  case 'k':
    return process();
  case 'g':
    return growth();
  case 'w':
    return dice(4);
  case 't':
    return dice(3);
  case 'r':
    return request();
  case 'd':
    return dice(12) - 1;
  case 'h':
    return dice(NCPU + 2) - 1;
  default:
    return wild();
  }
}

// ---- a call ----

static int pick(void) {
  int sum = 0, number = 0;
  if (dice(400) == 0)
    return dice(4) ? (int)dice(NUMBERS) : (int)wild(); // many have no number
  for (int i = 0; i < NUMBERS; i++)
    sum += calls[i].weight;
  for (int at = dice(sum); number < NUMBERS - 1 && at >= calls[number].weight; number++)
    at -= calls[number].weight;
  return number;
}

// Is this process one of those that must live for the run to go on, or for whom it was started?
static int is_apart(int pid) {
  return (pid > CRYPTO_SRV_PID && pid <= shared->foreman) || pid == shared->watchman;
}

// Where a worker may be: below HOME. Elsewhere it would come upon the names of programs, and remove them.
static uint64 directory(void) {
  static const char *const names[] = {"/fuzz.d", "/fuzz.d/d", "/fuzz.d/d/e", "d", "e",
                                      ".",       "a",         "/fuzz.d/./d", "",  "x/y"};
  return dice(8) ? (uint64)PICK(names) : wild();
}

// Takes out what would end the run: the machine's end, the console's and the failure device's input, the processes
// apart, and the foreman's view of the shared pages.
static void spare_the_run(struct fuzz_call *c) {
  uint64 *args = c->args;
  switch (c->number) {
  case SYS_shutdown:
    c->number = SYS_getpid;
    break;
  case SYS_chdir:
    args[0] = directory();
    break;
  case SYS_mknod:
    if ((short)args[1] == 1 || (short)args[1] == FAILPOINT)
      args[1] = 2;
    break;
  case SYS_kill:
    if (is_apart(args[0]))
      args[0] = CRYPTO_SRV_PID;
    break;
  case SYS_unmap_shared_pages:
    if (is_apart(args[0]))
      args[0] = CRYPTO_SRV_PID;
    if (is_kept(args[1], args[2]))
      args[1] = arena();
    break;
  case SYS_map_shared_pages:
    if (is_apart(args[0]))
      args[0] = shared->foreman, args[2] = arena(); // its stack is not to be written by others
    if (is_apart(args[1]))                          // small, it may have the last frames
      args[1] = getpid();
    if (is_kept(args[2], args[3]))
      args[2] = arena();
    break;
  case SYS_sbrk:
    if ((int)args[0] > 1 << 20 && (int)args[1] != SBRK_LAZY && dice(64))
      args[1] = SBRK_LAZY; // lazily: to fill all memory takes as long as thousands of calls
    break;
  case SYS_sleep:
    if ((int)args[0] > 5)
      args[0] = dice(8) ? 1 : args[0]; // the watchman ends it
    break;
  }
}

// What the following calls use of this one's result.
static void learn(const struct fuzz_call *c, uint64 result) {
  if (c->number == SYS_map_shared_pages && (int)c->args[1] == getpid())
    mapped[dice(KEPT)] = result;
  if (c->number == SYS_fork)
    last_pid = result;
  if (c->number == SYS_sbrk) {
    int n = c->args[0];
    grown = n > 0 ? grown + n : (uint64)-n < grown ? grown + n : 0;
  }
}

// Everything follows from `c`, which nobody else has: the slot is there to be looked at, and the child of a fork comes
// back with its parent's, in which the parent may be at another call by then.
int random_call(struct fuzz_slot *slot) {
  struct fuzz_call c = {.number = pick()};
  const char *kinds = c.number < NUMBERS && calls[c.number].args ? calls[c.number].args : "pnpnpn";
  if (c.number == SYS_exec)
    c.args[0] = program(), c.args[1] = argument_vector();
  else
    for (int i = 0; i < RAW_ARGS; i++)
      c.args[i] = *kinds ? make_argument(*kinds++) : dice_any();
  spare_the_run(&c);
  slot->last = c;
  uint64 choices = dice_state, result = raw_call(c.number, c.args);
  if (c.number == SYS_fork && result == 0)
    return FORKED;
  if (dice_state != choices || memcmp(&slot->last, &c, sizeof(c)) != 0)
    __atomic_fetch_add(&shared->disturbed, 1, __ATOMIC_RELAXED);
  if (result != ~0UL) {
    __atomic_fetch_add(&shared->good, 1, __ATOMIC_RELAXED);
    learn(&c, result);
  }
  return 0;
}

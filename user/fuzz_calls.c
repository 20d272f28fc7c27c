// fuzz: the grammar of arguments, and one random call. Each call's arguments are a string of kinds, one letter each
// (make_argument()); now and then a value of another kind, or a wild one, stands in its place.
#include "kernel/crypto.h"
#include "kernel/fcntl.h"
#include "kernel/lib/failpoint.h"
#include "kernel/memlayout.h"
#include "kernel/param.h"
#include "kernel/riscv.h"
#include "kernel/syscall.h"
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
    [SYS_procinfo] = {"pn", 3},
    [SYS_meminfo] = {"p", 2},
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

// ---- choices ----

static uint64 state; // of the random numbers

static uint64 heap; // where it begins

void seed_choices(uint64 number) {
  state = number;
  if (heap == 0)
    heap = (uint64)sbrk(0);
}

uint64 choice_number(void) {
  return state;
}

// A multiplicative step, its upper bits folded down (any odd multiplier of that size does).
static uint64 any(void) {
  state += 0x9e3779b97f4a7c15;
  uint64 x = state;
  x = (x ^ x >> 32) * 0xd6e8feb86659fd93;
  x = (x ^ x >> 32) * 0xd6e8feb86659fd93;
  return x ^ x >> 32;
}

static uint64 below(uint64 n) {
  return any() % n;
}

#define ONE_OF(list) (list)[below(sizeof(list) / sizeof((list)[0]))]

// ---- values ----

#define KEPT 8
static uint64 mapped[KEPT];   // addresses that map_shared_pages() gave this process
static uchar own[3 * PGSIZE]; // memory of this process alone
static uint64 grown;          // bytes of heap this process has got
static int last_pid;          // of a child

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
  return below(4) ? ONE_OF(values) + (below(3) ? 0 : below(32) - 16) : any() >> below(64);
}

static uint64 arena(void) {
  return (uint64)shared + FUZZ_FIRST + below((FUZZ_PAGES - 1) * PGSIZE - 64);
}

// So many bytes below the end of memory, but never below the heap: what decides the next call is there.
static uint64 near_the_end(uint64 n) {
  uint64 end = (uint64)sbrk(0);
  return end - n > heap && n < end ? end - n : end;
}

static uint64 pointer(void) {
  switch (below(16)) {
  case 0:
    return wild();
  case 1:
    return near_the_end(below(3 * PGSIZE));
  case 2:
    return near_the_end(below(20) * PGSIZE + below(PGSIZE));
  case 3:
  case 4:
    return ONE_OF(mapped) + below(PGSIZE);
  case 5:
    return (uint64)random_call + below(64); // text
  case 6:
  case 7:
  case 8:
    return (uint64)own + below(sizeof(own) - 64);
  default:
    return arena() & (below(2) ? ~0UL : ~(PGSIZE - 1UL));
  }
}

static uint64 size(void) {
  static const uint64 edges[] = {0, 1, 8, 16, 24, 511, 512, 1024, 4095, 4096, 4097, 8192, 20000, 3 * PGSIZE};
  return below(10) == 0 ? wild() : below(2) ? ONE_OF(edges) : below(2000);
}

// A path where others may rewrite it while the kernel reads it, or where nobody does.
static uint64 path(void) {
  static const char *const names[] = {"a",      "b",   "c",     "d",           "d/a",
                                      "d/b",    "d/e", "d/e/f", "..",          ".",
                                      "/",      "",    "d/",    "//",          "d/.",
                                      "a/b",    "x/y", "./a",   "d/../c",      "e",
                                      "d/e/..", "e/e", "../..", "../fuzz.d/b", "a-name-longer-than-a-directory-keeps"};
  if (below(12) == 0)
    return pointer();
  const char *name = ONE_OF(names);
  if (below(2))
    return (uint64)name;
  char *copy = (char *)arena();
  memmove(copy, name, strlen(name) + 1);
  return (uint64)copy;
}

static uint64 program(void) {
  static const char *const names[] = {"/echo", "/wc", "/cat", "/fuzz", "/shmem_test1", "/crypto_srv", "/free"};
  return below(3) ? (uint64)ONE_OF(names) : path();
}

static uint64 argument_vector(void) {
  static char *few[] = {"one", "two", 0};
  uint64 *vector = (uint64 *)(arena() & ~7UL);
  if (below(4))
    return (uint64)few;
  for (uint64 i = 0, n = below(40); i < n && (uint64)(vector + i + 1) < (uint64)shared + FUZZ_PAGES * PGSIZE; i++)
    vector[i] = below(8) ? path() : pointer();
  return below(8) ? (uint64)vector : pointer();
}

static uint64 request(void) {
  struct crypto_op *op = (struct crypto_op *)((below(2) ? arena() : (uint64)own + below(2 * PGSIZE)) & ~7UL);
  op->type = below(8) ? 1 + below(2) : any();
  op->state = below(8) ? CRYPTO_OP_STATE_INIT : any();
  op->key_size = below(6) ? 1 + below(40) : wild();
  op->data_size = below(6) ? below(3000) : wild();
  return below(8) ? (uint64)op : pointer();
}

static uint64 process(void) {
  switch (below(8)) {
  case 0:
    return wild();
  case 1:
    return below(4);
  case 2:
    return below(2) ? shared->owner : shared->foreman;
  case 3:
    return last_pid;
  case 4:
  case 5:
    return shared->slot[below(FUZZ_SLOTS)].pid;
  default:
    return getpid();
  }
}

static uint64 growth(void) {
  if (below(60) == 0)
    return wild();
  if (below(2) || grown == 0)
    return below(10) ? below(6 * PGSIZE) : below(1 << 21);
  return -(below(grown) + 1);
}

static uint64 make_argument(char kind) {
  static const uint64 flags[] = {O_RDONLY,          O_WRONLY,          O_RDWR,
                                 O_CREATE | O_RDWR, O_CREATE | O_RDWR, O_CREATE | O_TRUNC | O_RDWR,
                                 O_TRUNC,           O_WRONLY | O_TRUNC};
  if (below(24) == 0)
    return below(2) ? wild() : pointer();
  switch (kind) {
  case 'f':
    return below(NOFILE + 1);
  case 'p':
    return pointer();
  case 'n':
    return size();
  case 's':
    return path();
  case 'v':
    return argument_vector();
  case 'o':
    return ONE_OF(flags);
  case 'k':
    return process();
  case 'g':
    return growth();
  case 'w':
    return below(4);
  case 't':
    return below(3);
  case 'r':
    return request();
  case 'd':
    return below(12) - 1;
  case 'h':
    return below(NCPU + 2) - 1;
  default:
    return wild();
  }
}

// ---- a call ----

static int pick(void) {
  int sum = 0, number = 0;
  if (below(400) == 0)
    return below(4) ? (int)below(NUMBERS) : (int)wild(); // many have no number
  for (int i = 0; i < NUMBERS; i++)
    sum += calls[i].weight;
  for (int at = below(sum); number < NUMBERS - 1 && at >= calls[number].weight; number++)
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
  return below(8) ? (uint64)ONE_OF(names) : wild();
}

// Takes out what would end the run: the machine's end, the console's and the failure device's input, the processes
// apart, and the foreman's view of the shared pages.
static void spare_the_run(struct fuzz_slot *s) {
  uint64 *args = s->args;
  if (s->call == SYS_shutdown)
    s->call = SYS_getpid;
  if (s->call == SYS_chdir)
    args[0] = directory();
  if (s->call == SYS_mknod && ((short)args[1] == 1 || (short)args[1] == FAILPOINT))
    args[1] = 2;
  if ((s->call == SYS_kill || s->call == SYS_unmap_shared_pages) && is_apart(args[0]))
    args[0] = CRYPTO_SRV_PID;
  if (s->call == SYS_unmap_shared_pages && args[1] < (uint64)shared + FUZZ_FIRST && args[1] + args[2] > (uint64)shared)
    args[1] += FUZZ_FIRST; // or its children could not be seen
  if (s->call == SYS_map_shared_pages && is_apart(args[0]))
    args[0] = shared->foreman, args[2] = arena();           // its stack is not to be written by others
  if (s->call == SYS_map_shared_pages && is_apart(args[1])) // small, it may have the last frames
    args[1] = getpid();
  if (s->call == SYS_sbrk && (int)args[0] > 1 << 20 && (int)args[1] != SBRK_LAZY && below(64))
    args[1] = SBRK_LAZY; // lazily: to fill all memory takes as long as thousands of calls
  if (s->call == SYS_sleep && (int)args[0] > 5)
    args[0] = below(8) ? 1 : args[0]; // the watchman ends it
}

static uint64 raw_call(uint64 number, uint64 a, uint64 b, uint64 c, uint64 d, uint64 e, uint64 f) {
  register uint64 a0 __asm__("a0") = a;
  register uint64 a1 __asm__("a1") = b;
  register uint64 a2 __asm__("a2") = c;
  register uint64 a3 __asm__("a3") = d;
  register uint64 a4 __asm__("a4") = e;
  register uint64 a5 __asm__("a5") = f;
  register uint64 a7 __asm__("a7") = number;
  __asm__ volatile("ecall" : "+r"(a0) : "r"(a1), "r"(a2), "r"(a3), "r"(a4), "r"(a5), "r"(a7) : "memory");
  return a0;
}

// What the following calls use of this one's result.
static void learn(const struct fuzz_slot *s, uint64 result) {
  if (s->call == SYS_map_shared_pages && (int)s->args[1] == getpid())
    mapped[below(KEPT)] = result;
  if (s->call == SYS_fork)
    last_pid = result;
  if (s->call == SYS_sbrk) {
    int n = s->args[0];
    grown = n > 0 ? grown + n : (uint64)-n < grown ? grown + n : 0;
  }
}

int random_call(struct fuzz_slot *slot) {
  slot->call = pick();
  const char *kinds = slot->call < NUMBERS && calls[slot->call].args ? calls[slot->call].args : "pnpnpn";
  if (slot->call == SYS_exec)
    slot->args[0] = program(), slot->args[1] = argument_vector();
  else
    for (int i = 0; i < FUZZ_ARGS; i++)
      slot->args[i] = *kinds ? make_argument(*kinds++) : any();
  spare_the_run(slot);
  const uint64 *args = slot->args;
  uint64 result = raw_call(slot->call, args[0], args[1], args[2], args[3], args[4], args[5]);
  if (slot->call == SYS_fork && result == 0)
    return FORKED;
  if (result != ~0UL) {
    __atomic_fetch_add(&shared->good, 1, __ATOMIC_RELAXED);
    learn(slot, result);
  }
  return 0;
}

// Attacks, each of which must fail. isolation NAME makes one, isolation -l lists them. A victim with a secret lives
// beside the attacker all the time; after each attack it must be as it was, the server must serve, and every frame must
// be back.
#include "kernel/fcntl.h"
#include "kernel/memlayout.h"
#include "kernel/riscv.h"
#include "kernel/stat.h"
#include "kernel/trace.h"
#include "kernel/trace_events.h"
#include "tests/guest_programs/check.h"

#define SECRET 0x5ec2e7a11ce5UL

static int victim, to_victim[2], from_victim[2];
static char memory[2 * PAGE] __attribute__((aligned(4096)));

// What no program may touch, whatever it has mapped.
static const uint64 kernels[] = {MAXVA,
                                 TRAMPOLINE,
                                 TRAPFRAME,
                                 MAXVA - 8,
                                 1UL << 39,
                                 DIRECT_MAP,
                                 DIRECT_MAP + UART0,
                                 DIRECT_MAP + PLIC,
                                 DIRECT_MAP + TEST_FINISHER,
                                 DIRECT_MAP + KERNBASE,
                                 DIRECT_MAP + KERNBASE + (16 << 20),
                                 KSTACK_BASE,
                                 KSTACK_TOP(0) - 64,
                                 KSTACK_TOP(1) - 300,
                                 KERNBASE,
                                 0x8000000000000000,
                                 ~0UL - 7};
#define KERNELS (sizeof(kernels) / sizeof(kernels[0]))

// ---- the victim ----

static uint64 secrets[512] __attribute__((aligned(4096)));

static void live_as_victim(void) {
  char byte;
  for (int i = 0; i < 512; i++)
    secrets[i] = SECRET + i;
  while (read(to_victim[0], &byte, 1) == 1) {
    for (int i = 0; i < 512; i++)
      if (secrets[i] != SECRET + i)
        byte = 'n';
    write(from_victim[1], &byte, 1);
  }
  exit(0);
}

static int victim_is_whole(void) {
  char byte = 'y';
  return write(to_victim[1], &byte, 1) == 1 && read(from_victim[0], &byte, 1) == 1 && byte == 'y';
}

// ---- means ----

// Runs one step in a child: its status, -1 if it was killed.
static int in_child(void (*step)(uint64), uint64 argument) {
  int status = 99, pid = fork();
  if (pid == 0) {
    step(argument);
    exit(failures ? 1 : 0);
  }
  CHECK(wait(&status) == pid);
  return status;
}

static void load(uint64 address) {
  (void)*(volatile char *)address;
}

static void store(uint64 address) {
  *(volatile char *)address = 1;
}

static void jump(uint64 address) {
  ((void (*)(void))address)();
}

static int serves(void) {
  struct crypto_op *op = (struct crypto_op *)memory;
  fill(op, 3, 200);
  return crypto_op(op, size_of(op)) == 0 && crypto_wait(op) == 0 && is_served(op);
}

// ---- attacks ----

// Every call that takes an address, with one of the kernel's: none may read there for us or write there.
static void calls_on(uint64 address) {
  void *p = (void *)address;
  char *vector[] = {p, 0};
  int ends[2], file = open("isolation", O_RDONLY);
  CHECK(pipe(ends) == 0 && file >= 0);
  CHECK(read(file, p, 8) == -1 && write(ends[1], p, 8) == -1);
  CHECK(fstat(file, p) == -1 && pipe(p) == -1);
  CHECK(open(p, O_RDONLY) == -1 && mkdir(p) == -1 && chdir(p) == -1 && unlink(p) == -1 && mknod(p, 1, 1) == -1);
  CHECK(link(p, "x") == -1 && link("isolation", p) == -1);
  CHECK(exec(p, vector) == -1 && exec("echo", p) == -1 && exec("echo", vector) == -1);
  CHECK(procinfo(p, 1) == -1 && meminfo(p) == -1);
  CHECK(trace_read(0, p, (void *)memory, 1) == -1);
  CHECK(crypto_op(p, 64) == -1);
  CHECK(map_shared_pages(getpid(), victim, address, 8) == -1UL);
  CHECK(map_shared_pages(getpid(), info_of(getpid()).parent, address, 8) == -1UL);
  CHECK(unmap_shared_pages(getpid(), address, 8) == -1);
  write(ends[1], "12345678", 8);
  CHECK(read(ends[0], p, 8) == -1);
  int pid = fork();
  if (pid == 0)
    exit(0);
  CHECK(wait(p) == -1 && wait(0) == pid);
}

static void kernel_by_calls(void) {
  for (uint i = 0; i < KERNELS; i++)
    CHECK(in_child(calls_on, kernels[i]) == 0);
}

static void kernel_by_hand(void) {
  for (uint i = 0; i < KERNELS; i++) {
    CHECK(in_child(load, kernels[i]) == -1);
    CHECK(in_child(store, kernels[i]) == -1);
    CHECK(in_child(jump, kernels[i]) == -1);
  }
}

// A stranger's memory: not into us, not out of us, not away from it; nor init's, nor the server's.
static void strangers(void) {
  const int others[] = {victim, 1, CRYPTO_SRV_PID};
  uint64 parents = info_of(1).size;
  for (int i = 0; i < 3; i++) {
    for (uint64 va = 0; va < 16 * PAGE; va += PAGE) {
      CHECK(map_shared_pages(others[i], getpid(), va, 8) == -1UL);
      CHECK(map_shared_pages(getpid(), others[i], va, 8) == -1UL);
      CHECK(map_shared_pages(others[i], others[(i + 1) % 3], va, 8) == -1UL);
      CHECK(unmap_shared_pages(others[i], va, PAGE) == -1);
    }
    CHECK(map_shared_pages(others[i], getpid(), (uint64)secrets, sizeof(secrets)) == -1UL);
  }
  CHECK(info_of(1).size == parents);
}

// The owner ends; the frame stays the holder's until it lets go, and is nobody else's meanwhile; then it is gone.
static void hold_and_use(uint64 how) {
  int owner = getpid(), ends[2];
  uint64 *own = (uint64 *)sbrk(PAGE);
  CHECK(pipe(ends) == 0);
  *own = SECRET;
  int pid = fork();
  if (pid != 0) {
    char byte;
    read(ends[0], &byte, 1);
    exit(0); // and its child goes on
  }
  uint64 *here = (uint64 *)map_shared_pages(owner, getpid(), (uint64)own, 8);
  CHECK((uint64)here != -1UL);
  write(ends[1], "!", 1);
  while (info_of(owner).pid == owner && info_of(owner).state != ZOMBIE)
    sleep(1);
  for (int i = 0; i < 20; i++) {
    uint64 *fresh = (uint64 *)sbrk(PAGE);
    CHECK(*here == SECRET && *fresh == 0);
    *fresh = i;
  }
  CHECK(unmap_shared_pages(getpid(), (uint64)here, 8) == 0);
  if (how == 0)
    load((uint64)here);
  else
    store((uint64)here);
  printf("the frame is still there\n"); // which the host takes for a success of the attack
  exit(1);
}

static int processes(void) {
  static struct procinfo rows[NPROC];
  return procinfo(rows, NPROC);
}

static void owner_gone(void) {
  int before = info_of(getpid()).size, lives = processes();
  for (uint64 how = 0; how < 2; how++)
    in_child(hold_and_use, how);
  CHECK((int)info_of(getpid()).size == before);
  while (processes() > lives) // the holders are orphans: init waits for them
    sleep(1);
}

static void forge_trace(void) {
  static struct trace_record records[64];
  uint64 mask = trace_control(TRACE_GET_MASK, 0);
  struct trace_cursor cursor[NCPU];
  trace_control(TRACE_SET_MASK, -1UL & ~(1UL << TRACE_SYS_ENTER));
  for (int hart = 0; hart < NCPU; hart++)
    cursor[hart] = (struct trace_cursor){.position = trace_control(TRACE_HEAD, hart)};
  for (int event = -1; event < 200; event++)
    if (event != TRACE_STATE && event != TRACE_NOTE)
      CHECK(trace_mark(event, SECRET, SECRET, SECRET, SECRET, SECRET) == -1);
  CHECK(trace_mark(TRACE_STATE, 1, 2, 3, 4, 5) == 0);
  trace_control(TRACE_SET_MASK, mask & ~(1UL << TRACE_SYS_ENTER | 1UL << TRACE_SYS_EXIT));
  int forged = 0, pid = getpid();
  for (int hart = 0; hart < NCPU; hart++)
    for (int n; (n = trace_read(hart, &cursor[hart], records, 64)) > 0;)
      for (int i = 0; i < n; i++)
        forged += records[i].args[1] == SECRET && records[i].pid == pid;
  CHECK(forged == 0);
  trace_control(TRACE_SET_MASK, mask);
}

static void server(void) {
  void *va;
  uint64 size;
  CHECK(kill(CRYPTO_SRV_PID) == -1 && kill(1) == -1 && kill(0) == -1 && kill(-CRYPTO_SRV_PID) == -1);
  CHECK(take_shared_memory_request(&va, &size) == -1);
  for (uint64 at = 0; at < 32 * PAGE; at += PAGE)
    CHECK(remove_shared_memory_request((void *)at, PAGE) == -1);
  int status, pid = fork();
  if (pid == 0) {
    char *argv[] = {"crypto_srv", 0};
    exec("crypto_srv", argv);
  }
  CHECK(wait(&status) == pid && status == 1);
  CHECK(serves());
}

// Clients that ask without end, and never look; and such that ask and die at once.
static void flood(uint64 dies) {
  struct crypto_op *op = (struct crypto_op *)sbrk(8 * PAGE);
  for (;;) {
    fill(op, 2049, 5 * PAGE); // the slowest work there is
    crypto_op(op, 8 * PAGE);
    if (dies)
      exit(0);
  }
}

static void starve_server(void) {
  int pids[20];
  for (int i = 0; i < 20; i++)
    if ((pids[i] = fork()) == 0)
      flood(0);
  for (int i = 0; i < 5; i++)
    CHECK(serves()); // behind no more than the queue and the line hold
  for (int i = 0; i < 20; i++)
    kill(pids[i]);
  while (wait(0) > 0)
    ;
  CHECK(serves());
}

static void fill_queue(void) {
  for (int round = 0; round < 3; round++) {
    for (int i = 0; i < 2 * NSHMEM_REQS; i++)
      if (fork() == 0)
        flood(1);
    CHECK(serves());
    while (wait(0) > 0)
      ;
  }
  CHECK(serves());
}

// Maps the same pages until the kernel has no frame for another page table: it refuses, and lives.
static void map_for_ever(uint64 pages) {
  char *area = sbrk(pages * PAGE);
  int owner = getpid(), pid = fork();
  if (pid == 0) {
    uint64 times = 0;
    while (map_shared_pages(owner, getpid(), (uint64)area, pages * PAGE) != -1UL)
      times++;
    while (map_shared_pages(owner, getpid(), (uint64)area, PAGE) != -1UL) // the last few frames, table by table
      ;
    CHECK(times > 10);
    CHECK(sbrk(64 << 20) == SBRK_ERROR && pipe((int *)memory) == -1 && fork() == -1);
    exit(failures);
  }
  int status;
  CHECK(wait(&status) == pid && status == 0);
}

static void exhaust_memory(void) {
  memory[0] = 1; // its own, or the pipe() above would want a frame to write its answer
  CHECK(in_child(map_for_ever, 2048) == 0);
  CHECK(victim_is_whole() && serves());
}

// Instructions where only data may be: heap, stack, a program's data, a page shared in.
static void execute_at(uint64 address) {
  *(volatile uint *)address = 0x00008067; // ret
  asm volatile("fence.i" ::: "memory");
  jump(address);
}

static void execute_shared(uint64 unused) {
  (void)unused;
  execute_at(map_shared_pages(info_of(getpid()).parent, getpid(), (uint64)memory, 8));
}

static void execute_stack(uint64 unused) {
  uint word = unused;
  execute_at((uint64)&word);
}

static void execute_data(void) {
  CHECK(in_child(execute_at, (uint64)sbrk(PAGE)) == -1);
  CHECK(in_child(execute_at, (uint64)memory) == -1);
  CHECK(in_child(execute_stack, 0) == -1);
  CHECK(in_child(execute_shared, 0) == -1);
}

// Text stays as it is: by a store, by read(), by a request, through a mapping of it in a child.
static void write_shared_text(uint64 text) {
  uint64 here = map_shared_pages(info_of(getpid()).parent, getpid(), text, 8);
  if (here != -1UL)
    store(here);
}

static void write_text(void) {
  uint64 text = (uint64)write_text;
  int ends[2];
  CHECK(in_child(store, text) == -1);
  CHECK(in_child(write_shared_text, text) != 0 || failures == 0);
  CHECK(pipe(ends) == 0 && write(ends[1], "12345678", 8) == 8);
  CHECK(read(ends[0], (void *)text, 8) == -1);
  CHECK(crypto_op((void *)(text & ~7UL), 64) == -1 && fstat(ends[0], (void *)text) == -1 &&
        meminfo((void *)text) == -1);
  close(ends[0]);
  close(ends[1]);
}

// What only the kernel may do.
static void privileged(uint64 which) {
  switch (which) {
  case 0:
    asm volatile("csrr t0, sstatus" ::: "t0");
    break;
  case 1:
    asm volatile("csrw satp, zero");
    break;
  case 2:
    asm volatile("sret");
    break;
  case 3:
    asm volatile("sfence.vma");
    break;
  case 4:
    asm volatile("csrw stvec, zero");
    break;
  case 5:
    asm volatile("csrw 0x14d, zero"); // stimecmp
    break;
  case 6:
    asm volatile("csrr t0, mhartid" ::: "t0");
    break;
  default:
    asm volatile("csrw time, zero" ::: "t0");
  }
}

static void instructions(void) {
  for (uint64 i = 0; i < 8; i++)
    CHECK(in_child(privileged, i) == -1);
}

static const struct {
  const char *name;
  void (*run)(void);
} attacks[] = {
    {"kernel_by_calls", kernel_by_calls},
    {"kernel_by_hand", kernel_by_hand},
    {"strangers", strangers},
    {"owner_gone", owner_gone},
    {"forge_trace", forge_trace},
    {"server", server},
    {"starve_server", starve_server},
    {"fill_queue", fill_queue},
    {"exhaust_memory", exhaust_memory},

    {"execute_data", execute_data},
    {"write_text", write_text},
    {"instructions", instructions},
    {0, 0},
};

static void attack(void (*run)(void)) {
  CHECK(pipe(to_victim) == 0 && pipe(from_victim) == 0);
  if ((victim = fork()) == 0) {
    close(to_victim[1]);
    live_as_victim();
  }
  CHECK(victim_is_whole() && serves());
  uint64 frames = free_frames();
  int pid = fork(), status;
  if (pid == 0) {
    run();
    exit(failures);
  }
  CHECK(wait(&status) == pid && status == 0);
  CHECK(victim_is_whole() && serves());
  for (int tick = 0; tick < 100 && free_frames() < frames; tick++)
    sleep(1);
  CHECK(free_frames() >= frames);
  close(to_victim[1]);
  CHECK(wait(0) == victim);
}

int main(int argc, char *argv[]) {
  for (int i = 0; attacks[i].name; i++)
    if (argc == 2 && strcmp(argv[1], "-l") == 0) {
      printf("%s\n", attacks[i].name);
    } else if (argc == 2 && strcmp(argv[1], attacks[i].name) == 0) {
      attack(attacks[i].run);
      return report();
    }
  return argc == 2 && strcmp(argv[1], "-l") == 0 ? 0 : 2;
}

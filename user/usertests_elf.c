// usertests: program files that lie. Each is a small valid program with one field of its ELF header or program header
// changed; exec has to refuse it, or the process may die of running it, and nothing else may happen.
// Offsets are those of the ELF-64 object file format, version 1.5.
#include "user/dice.h"
#include "user/usertests.h"
#include "kernel/fcntl.h"

#define HEADER 64   // bytes of the file header
#define SEGMENT 56  // bytes of a program header
#define CODE 0x1000 // where the segment lies in the file

struct patch {
  const char *what;
  int offset; // in the file
  int bytes;  // 0 ends the list
  uint64 value;
  int refused; // exec has to return -1
};

// Fields of the file header, then of the program header.
enum { ENTRY = 24, PHOFF = 32, PHENTSIZE = 54, PHNUM = 56 };
enum { TYPE = HEADER, FLAGS = HEADER + 4, OFFSET = HEADER + 8, VADDR = HEADER + 16 };
enum { FILESZ = HEADER + 32, MEMSZ = HEADER + 40 };

static void poke(uchar *image, int offset, int bytes, uint64 value) {
  for (int i = 0; i < bytes; i++)
    image[offset + i] = value >> (8 * i);
}

// li a0, 42; li a7, 2; ecall: exit(42).
static const uint code[] = {0x02a00513, 0x00200893, 0x00000073};

static void make_program(const struct patch *p) {
  static uchar image[CODE + 0x1000];
  memset(image, 0, sizeof(image));
  poke(image, 0, 4, 0x464c457f);
  poke(image, 4, 3, 0x010102); // 64 bits, little-endian, version 1
  poke(image, 16, 2, 2);       // executable
  poke(image, 18, 2, 243);     // RISC-V
  poke(image, 20, 4, 1);
  poke(image, PHOFF, 8, HEADER);
  poke(image, 52, 2, HEADER);
  poke(image, PHENTSIZE, 2, SEGMENT);
  poke(image, PHNUM, 2, 1);
  poke(image, TYPE, 4, 1);
  poke(image, FLAGS, 4, 5);
  poke(image, OFFSET, 8, CODE);
  poke(image, FILESZ, 8, 0x1000);
  poke(image, MEMSZ, 8, 0x2000);
  poke(image, HEADER + 48, 8, 0x1000);
  memmove(image + CODE, code, sizeof(code));
  if (p)
    poke(image, p->offset, p->bytes, p->value);
  int fd = open("prog", O_CREATE | O_TRUNC | O_RDWR);
  CHECK(fd >= 0);
  WANT(write(fd, image, sizeof(image)), sizeof(image));
  close(fd);
}

static int run_program(void) {
  char *argv[] = {"prog", 0};
  int pid = fork();
  CHECK(pid >= 0);
  if (pid == 0) {
    exec("prog", argv);
    exit(99);
  }
  return finish(pid);
}

static const struct patch patches[] = {
    {"no magic", 0, 4, 0x464c457e, 1},
    {"file header shorter than the table's place", PHOFF, 8, 1 << 20, 1},
    {"table at the end of the address space", PHOFF, 8, ~0UL - 8, 1},
    {"table at a 32-bit wrap", PHOFF, 8, 0xfffffff0, 1},
    {"more segments than the file has", PHNUM, 2, 0xffff, 0},
    {"segment at an odd address", VADDR, 8, 0x1001, 1},
    {"segment at the top of user memory", VADDR, 8, MAXVA - PAGE, 1},
    {"segment that leaves no room for a stack", VADDR, 8, MAXVA - 4 * PAGE, 1},
    {"segment beyond user memory", VADDR, 8, MAXVA, 1},
    {"segment in the hole of Sv39", VADDR, 8, 1UL << 39, 1},
    {"segment in the kernel's half", VADDR, 8, 0xffffffc080000000, 1},
    {"segment on the last page", VADDR, 8, ~0UL << 12, 1},
    {"segment that wraps to zero", MEMSZ, 8, ~0UL - 0x10, 1},
    {"segment that wraps to its start", MEMSZ, 8, ~0UL, 1},
    {"more bytes from the file than in memory", FILESZ, 8, 0x3000, 1},
    {"more bytes than the file has", OFFSET, 8, CODE + 0x800, 1},
    {"bytes from far past the end of the file", OFFSET, 8, 1UL << 40, 1},
    {"bytes from a place that wraps", OFFSET, 8, ~0UL - 0x7ff, 1},
    {"more memory than the machine has", MEMSZ, 8, 1UL << 34, 1},
    {"more memory than there are addresses", MEMSZ, 8, 1UL << 38, 1},
    {"no loadable segment", TYPE, 4, 2, 0},
    {"text that is not executable", FLAGS, 4, 4, 0},
    {"entry outside the segment", ENTRY, 8, 0x100000, 0},
    {"entry in the kernel's half", ENTRY, 8, 0xffffffc080000000, 0},
    {"entry at an odd address", ENTRY, 8, 3, 0},
    {"nothing from the file", FILESZ, 8, 0, 0},
    {0, 0, 0, 0, 0},
};

static void elf_fields(void) {
  make_program(0);
  WANT(run_program(), 42);
  for (const struct patch *p = patches; p->bytes; p++) {
    make_program(p);
    int status = run_program();
    if (p->refused ? status != 99 : (status != 99 && status != -1 && status != 42))
      FAIL("%s: status %d", p->what, status);
  }
  make_program(0);
  WANT(run_program(), 42);
  unlink("prog");
}

// Random damage to the two headers.
static void elf_random(void) {
  dice_state = 2024;
  for (int i = 0; i < 60; i++) {
    struct patch p = {"random", dice(HEADER + SEGMENT), 1 + i % 8, 0, 0};
    p.value = dice_any();
    make_program(&p);
    run_program(); // any status: it may even run
  }
  unlink("prog");
}

// Cut at every interesting length.
static void elf_truncated(void) {
  static const int lengths[] = {1,    4,        16,          HEADER - 1, HEADER, HEADER + 1, HEADER + SEGMENT,
                                CODE, CODE + 8, CODE + 0xfff};
  static uchar image[CODE + 0x1000];
  for (uint i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
    make_program(0);
    int fd = open("prog", O_RDONLY);
    WANT(read(fd, image, sizeof(image)), sizeof(image));
    close(fd);
    fd = open("prog", O_TRUNC | O_WRONLY);
    WANT(write(fd, image, lengths[i]), lengths[i]);
    close(fd);
    if (run_program() != 99)
      FAIL("a program of %d bytes was run", lengths[i]);
  }
  unlink("prog");
}

const struct test elf_tests[] = {
    {"elf_fields", elf_fields, 0},
    {"elf_random", elf_random, 0},
    {"elf_truncated", elf_truncated, 0},
    {0, 0, 0},
};

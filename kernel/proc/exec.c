// exec: builds a whole new address space beside the old one, then swaps. Until the swap everything can fail
// and nothing has changed. ELF: System V ABI, chapters 4 and 5, and the RISC-V supplement.
#include "kernel/proc/exec.h"
#include "kernel/fs/fs_kernel.h"
#include "kernel/ipc/shmem_queue.h"
#include "kernel/lib/lib.h"
#include "kernel/memlayout.h"
#include "kernel/mm/frame.h"
#include "kernel/mm/mapping.h"
#include "kernel/mm/user.h"
#include "kernel/mm/vm.h"
#include "kernel/proc/elf.h"
#include "kernel/proc/lock.h"
#include "kernel/proc/proc.h"
#include "kernel/proc/syscall.h"
#include "kernel/trace/trace.h"

// An address space being built; nobody else sees it.
struct image {
  pagetable_t pagetable;
  uint64 size;
  uint64 entry;
  uint64 sp; // and the address of argv
  int argc;
};

// Reads exactly n bytes of the file. 0, or -1.
static int read_all(struct inode *ip, void *dst, uint64 n, uint64 offset) {
  return offset <= 0xffffffff - n && readi(ip, kernel_span(dst, n), offset) == (int)n ? 0 : -1;
}

// Fills the image's pages from va on with n bytes of the file.
static int load_pages(struct image *image, struct inode *ip, uint64 va, uint64 offset, uint64 n) {
  for (uint64 done = 0; done < n; done += PGSIZE) {
    uint64 part = n - done < PGSIZE ? n - done : PGSIZE;
    pte_t *entry = walk(image->pagetable, va + done, 0);
    if (read_all(ip, kva(PTE2PA(*entry)), part, offset + done) < 0)
      return -1;
  }
  return 0;
}

#define STACK_ABOVE ((USERSTACK + 1UL) * PGSIZE) // bytes of stack and guard that must fit above the last segment

// One PT_LOAD segment: page-aligned, above the one before, within user memory.
static int load_segment(struct image *image, struct inode *ip, const struct proghdr *ph) {
  if (ph->memsz < ph->filesz || ph->vaddr % PGSIZE || ph->vaddr < image->size || ph->memsz > USERTOP - STACK_ABOVE ||
      ph->vaddr > USERTOP - STACK_ABOVE - ph->memsz)
    return -1;
  int perm = PTE_U | PTE_R | PTE_A | PTE_D | (ph->flags & ELF_PROG_FLAG_WRITE ? PTE_W : 0) |
             (ph->flags & ELF_PROG_FLAG_EXEC ? PTE_X : 0);
  uint64 end = PGROUNDUP(ph->vaddr + ph->memsz);
  if (uvmalloc(image->pagetable, ph->vaddr, end, perm) < 0)
    return -1;
  image->size = end;
  return load_pages(image, ip, ph->vaddr, ph->off, ph->filesz);
}

static int load_program(struct image *image, struct inode *ip) {
  struct elfhdr elf;
  if (read_all(ip, &elf, sizeof(elf), 0) < 0 || elf.magic != ELF_MAGIC || elf.machine != ELF_MACHINE_RISCV ||
      elf.phentsize != sizeof(struct proghdr))
    return -1;
  for (int i = 0; i < elf.phnum; i++) {
    struct proghdr ph;
    if (read_all(ip, &ph, sizeof(ph), elf.phoff + i * sizeof(ph)) < 0)
      return -1;
    if (ph.type == ELF_PROG_LOAD && ph.memsz && load_segment(image, ip, &ph) < 0)
      return -1;
  }
  image->entry = elf.entry;
  return 0;
}

// A stack above the program, and a page below it that is never mapped.
static int add_stack(struct image *image) {
  uint64 guard = image->size;
  pte_t *entry = walk(image->pagetable, guard, 1);
  if (!entry || uvmalloc(image->pagetable, guard + PGSIZE, guard + (1 + USERSTACK) * PGSIZE,
                         PTE_U | PTE_R | PTE_W | PTE_A | PTE_D) < 0)
    return -1;
  *entry = PTE_HOLE;
  image->size = image->sp = guard + (1 + USERSTACK) * PGSIZE;
  return 0;
}

#define STACK_LEFT 1024 // bytes of stack a program has at least when it starts

// Lowers the stack by n bytes, then to a multiple of 16, and copies src there. -1 if the stack has no room.
static int push(struct image *image, const void *src, uint64 n) {
  uint64 bottom = image->size - USERSTACK * PGSIZE + STACK_LEFT;
  if (n > image->sp - bottom)
    return -1;
  image->sp = (image->sp - n) & ~15UL;
  if (image->sp < bottom)
    return -1;
  for (uint64 done = 0; done < n;) {
    uint64 va = image->sp + done, in_page = va % PGSIZE;
    uint64 part = n - done < PGSIZE - in_page ? n - done : PGSIZE - in_page;
    memmove((char *)kva(PTE2PA(*walk(image->pagetable, va, 0))) + in_page, (const char *)src + done, part);
    done += part;
  }
  return 0;
}

// The strings, then the array of their addresses, with a 0 after the last; sp is the array's address.
static int push_arguments(struct image *image, char *const argv[]) {
  uint64 addresses[MAXARG + 1];
  for (image->argc = 0; argv[image->argc]; image->argc++) {
    if (image->argc == MAXARG || push(image, argv[image->argc], strlen(argv[image->argc]) + 1) < 0)
      return -1;
    addresses[image->argc] = image->sp;
  }
  addresses[image->argc] = 0;
  return push(image, addresses, (image->argc + 1) * sizeof(addresses[0]));
}

static int build(struct image *image, const char *path, char *const argv[]) {
  struct inode *ip = namei(path);
  if (!ip)
    return -1;
  ilock(ip);
  int result = load_program(image, ip);
  iunlock(ip);
  iput_op(ip);
  if (result == 0 && add_stack(image) == 0)
    return push_arguments(image, argv);
  return -1;
}

static const char *last_component(const char *path) {
  const char *name = path;
  for (; *path; path++)
    if (path[0] == '/' && path[1])
      name = path + 1;
  return name;
}

// From here on nothing fails.
static void swap(struct proc *p, const struct image *image, const char *path) {
  queue_cancel(p); // its requests mean the old program's memory
  note_loose_table(1);
  acquire(&p->memory_lock);
  pagetable_t old = p->pagetable;
  p->pagetable = image->pagetable;
  WRITE_ONCE(p->sz, image->size);
  p->odd_top = p->has_holes = 0;
  use_pagetable(p->pagetable);
  release(&p->memory_lock);
  fence_i(); // the program's text was written as data
  uvmfree(old);
  note_loose_table(0);

  memset(p->name, 0, sizeof(p->name));
  safestrcpy(p->name, last_component(path), sizeof(p->name));
  p->fp_used = 0;
  p->trapframe->epc = image->entry;
  p->trapframe->sp = p->trapframe->a1 = image->sp;
  trace(TRACE_EXEC, pa_of(image->pagetable), trace_text(p->name, 0), trace_text(p->name, 1));
}

int exec(const char *path, char *const argv[]) {
  struct image image = {.pagetable = uvmcreate()};
  if (!image.pagetable)
    return -1;
  if (build(&image, path, argv) < 0) {
    uvmfree(image.pagetable);
    return -1;
  }
  swap(myproc(), &image, path);
  return image.argc;
}

// Copies the argument strings of the vector at argv_va into a frame, one after the other. 0, or -1.
static int fetch_arguments(uint64 argv_va, char *argv[], char *frame) {
  uint64 used = 0;
  for (int i = 0; i <= MAXARG; i++) {
    uint64 va;
    if (copyin(&va, argv_va + i * sizeof(va), sizeof(va)) < 0)
      return -1;
    if (va == 0) {
      argv[i] = 0;
      return 0;
    }
    int length = i < MAXARG ? copyinstr(frame + used, va, PGSIZE - used) : -1;
    if (length < 0)
      return -1;
    argv[i] = frame + used;
    used += length + 1;
  }
  return -1;
}

uint64 sys_exec(void) {
  char path[MAXPATH];
  char *argv[MAXARG + 1];
  if (argstr(0, path, sizeof(path)) < 0)
    return -1;
  char *frame = kalloc(); // all arguments must fit on the stack's one page, so they fit here
  if (!frame)
    return -1;
  int result = fetch_arguments(argument(1), argv, frame) < 0 ? -1 : exec(path, argv);
  kfree(frame);
  return result;
}

// Page tables: the kernel's upper half, made once and shared by all, and a process's lower half.
// Sv39, privileged specification 4.4. Callers hold the process's memory_lock unless the table is still private.
#include "kernel/mm/vm.h"
#include "kernel/boot/boot.h"
#include "kernel/lib/lib.h"
#include "kernel/mm/frame.h"
#include "kernel/mm/mapping.h"
#include "kernel/param.h"
#include "kernel/proc/lock.h"
#include "kernel/proc/proc.h"

#define ENTRIES 512
#define USER_ENTRIES 256 // of a root: the lower half
#define LEVEL_SIZE(level) (1UL << PXSHIFT(level))

extern char etext[], erodata[], end[]; // kernel.ld

pagetable_t kernel_pagetable;

// Descends from the root to the entry for va in the table page of `level`, adding table pages if alloc. 0 if it can't.
static seldom pte_t *walk_to(pagetable_t pagetable, uint64 va, int level, int alloc) {
  pagetable_t table = pagetable;
  for (int l = 2; l > level; l--) {
    pte_t *entry = &table[PX(l, va)];
    if (*entry & PTE_V) {
      table = table_below(*entry);
      continue;
    }
    if (!alloc || (table = kalloc_zero()) == 0)
      return 0;
    *entry = PA2PTE(pa_of(table)) | PTE_V;
  }
  return &table[PX(level, va)];
}

pte_t *walk(pagetable_t pagetable, uint64 va, int alloc) {
  if (va >= MAXVA)
    return 0;
  pte_t *entry = leaf_of(pagetable, va);
  return entry || !alloc ? entry : walk_to(pagetable, va, 0, 1);
}

// ---- the kernel's half ----

// Maps [va, va+size) to pa by the largest leaves that alignment allows; boot only, so lack of memory is fatal.
static void map_kernel(uint64 va, uint64 pa, uint64 size, int perm) {
  for (uint64 left = size; left > 0;) {
    int level = 2;
    while (level > 0 && ((va | pa) % LEVEL_SIZE(level) || left < LEVEL_SIZE(level)))
      level--;
    pte_t *entry = walk_to(kernel_pagetable, va, level, 1);
    if (!entry)
      panic("no memory for the kernel's page table");
    *entry = PA2PTE(pa) | perm | PTE_V | PTE_G | PTE_A | PTE_D;
    va += LEVEL_SIZE(level);
    pa += LEVEL_SIZE(level);
    left -= LEVEL_SIZE(level);
  }
}

static void map_direct(uint64 pa, uint64 pa_end, int perm) {
  map_kernel(pa + DIRECT_MAP, pa, pa_end - pa, perm);
}

// One stack for each process slot and each hart, an unmapped guard of equal size below it.
static void map_stacks(void) {
  for (int i = 0; i < NPROC + ncpu; i++) {
    for (int page = KSTACK_PAGES; page > 0; page--) {
      void *frame = kalloc_zero();
      if (!frame)
        panic("no memory for the kernel's stacks");
      map_kernel(KSTACK_TOP(i) - page * PGSIZE, pa_of(frame), PGSIZE, PTE_R | PTE_W);
    }
  }
}

void kvminit(void) {
  const uint64 large = LEVEL_SIZE(1);
  if ((kernel_pagetable = kalloc_zero()) == 0)
    panic("no memory for the kernel's page table");
  map_direct(TEST_FINISHER, TEST_FINISHER + PGSIZE, PTE_R | PTE_W);
  map_direct(CLINT, CLINT + PGSIZE, PTE_R | PTE_W);
  map_direct(PLIC, PLIC + 2 * large, PTE_R | PTE_W);
  map_direct(UART0, UART0 + large, PTE_R | PTE_W); // the virtio devices are next to it
  map_direct(KERNBASE, pa_of(etext), PTE_R | PTE_X);
  map_direct(pa_of(etext), pa_of(erodata), PTE_R);
  map_direct(pa_of(erodata), machine.memory_end, PTE_R | PTE_W);
  map_stacks();
}

void use_pagetable(pagetable_t pagetable) {
  csr_write(satp, SATP_SV39 | (pa_of(pagetable) >> PGSHIFT));
  sfence_vma();
}

void kvminithart(void) {
  use_pagetable(kernel_pagetable);
}

// ---- a process's half ----

int mappages(pagetable_t pagetable, uint64 va, uint64 size, uint64 pa, int perm) {
  uint64 last = PGROUNDUP(va + size);
  // Table pages first: they may stay if memory runs out, empty ones change nothing.
  for (uint64 a = PGROUNDDOWN(va); a < last; a = (a | (LEVEL_SIZE(1) - 1)) + 1)
    if (!walk(pagetable, a, 1))
      return -1;
  for (uint64 a = PGROUNDDOWN(va); a < last; a += PGSIZE, pa += PGSIZE) {
    pte_t *entry = walk(pagetable, a, 0);
    if (*entry & PTE_V)
      panic("mappages: 0x%lx is mapped already", a);
    leaf_set(pagetable, a, entry, PA2PTE(pa) | perm | PTE_V | PTE_A | PTE_D);
  }
  return 0;
}

pagetable_t uvmcreate(void) {
  pagetable_t root = kalloc();
  if (!root)
    return 0;
  memset(root, 0, USER_ENTRIES * sizeof(pte_t));
  memcpy(root + USER_ENTRIES, kernel_pagetable + USER_ENTRIES, USER_ENTRIES * sizeof(pte_t));
  return root;
}

pte_t *next_table(pagetable_t pagetable, uint64 *va, uint64 end) {
  while (*va < end) {
    pagetable_t table = pagetable;
    int level = 2;
    while (level > 0 && (table[PX(level, *va)] & PTE_V)) {
      table = table_below(table[PX(level, *va)]);
      level--;
    }
    if (level == 0)
      return table;
    *va = (*va | (LEVEL_SIZE(level) - 1)) + 1;
  }
  return 0;
}

void uvmunmap(pagetable_t pagetable, uint64 va, uint64 npages) {
  uint64 end = va + npages * PGSIZE;
  pte_t *table;
  while ((table = next_table(pagetable, &va, end))) {
    uint64 start = va;
    do {
      if (table[PX(0, va)])
        leaf_drop(pagetable, va, &table[PX(0, va)]);
      va += PGSIZE;
    } while (va < end && PX(0, va));
    if (va - start == LEVEL_SIZE(1)) { // all of the table page: it goes too
      *walk_to(pagetable, start, 1, 0) = 0;
      kfree(table);
    }
  }
}

// Frees a table page of the given level that maps from va on, and all below it.
static void free_tables(pagetable_t root, pagetable_t table, uint64 va, int level) {
  for (int i = 0; i < (level == 2 ? USER_ENTRIES : ENTRIES); i++, va += LEVEL_SIZE(level)) {
    if (!table[i])
      continue;
    if (level > 0)
      free_tables(root, table_below(table[i]), va, level - 1);
    else
      leaf_drop(root, va, &table[i]);
  }
  kfree(table);
}

void uvmfree(pagetable_t pagetable) {
  free_tables(pagetable, pagetable, 0, 2);
}

void free_empty_tables(pagetable_t pagetable, uint64 start, uint64 end) {
  uint64 va = (start + LEVEL_SIZE(1) - 1) & -LEVEL_SIZE(1), last = (end + LEVEL_SIZE(1) - 1) & -LEVEL_SIZE(1);
  for (pte_t *table; (table = next_table(pagetable, &va, last)); va += LEVEL_SIZE(1)) {
    *walk_to(pagetable, va, 1, 0) = 0;
    kfree(table);
  }
}

void uvmcount(struct proc *p, uint64 *pages, uint64 *shared) {
  *pages = *shared = 0;
  acquire(&p->memory_lock);
  uint64 va = 0;
  pte_t *table;
  while (p->pagetable && (table = next_table(p->pagetable, &va, PGROUNDUP(p->sz)))) {
    for (int i = PX(0, va); i < ENTRIES; i++) {
      *pages += (table[i] & PTE_V) != 0;
      *shared += (table[i] & (PTE_V | PTE_S)) == (PTE_V | PTE_S);
    }
    va = (va | (LEVEL_SIZE(1) - 1)) + 1;
  }
  release(&p->memory_lock);
}

int uvmalloc(pagetable_t pagetable, uint64 start, uint64 end, int perm) {
  for (uint64 va = start; va < end; va += PGSIZE) {
    void *frame = kalloc_zero();
    if (!frame || mappages(pagetable, va, PGSIZE, pa_of(frame), perm) < 0) {
      if (frame)
        kfree(frame);
      uvmunmap(pagetable, start, (va - start) / PGSIZE);
      return -1;
    }
  }
  return 0;
}

// Sharing pages between processes: the rules are DESIGN's "Mapping rules", the work is mm/shmem.c.
#pragma once
#include "kernel/types.h"

struct proc;

// Maps the pages that hold [src_va, src_va+size) of src at the top of dst, with src's permissions.
// -> the address in dst of byte src_va, or -1 (as uint64) with nothing changed. Takes both memory locks;
// the caller keeps both processes from being freed (tree lock, or being one of them).
uint64 map_shared_pages(struct proc *src, struct proc *dst, uint64 src_va, uint64 size);
// Takes back what a mapping made, whole or part, all of it shared: 0, or -1 (as uint64) with nothing changed.
uint64 unmap_shared_pages(struct proc *p, uint64 va, uint64 size);
// Is every page of [va, va+size) mapped, or lazily mappable, and writable in p? Fills and copies as a write would.
int is_writable(struct proc *p, uint64 va, uint64 size);

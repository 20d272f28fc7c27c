// What kernel/fs needs of the frame allocator, for the host (tests/fs_host/shim.c).
#pragma once
#include "kernel/memlayout.h"

void *boot_alloc(uint64 bytes);

// How sys_sbrk() grows a process; numbers are those of xv6 2025.
#pragma once

#define SBRK_EAGER 1 // frames are allocated by the call
#define SBRK_LAZY 2  // frames are allocated when first touched

#define SBRK_ERROR ((char *)-1)

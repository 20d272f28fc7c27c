// Fixed-width integer names, as xv6 spells them, plus the C23 basics.
// Relies on the lp64 ABI only; usable from kernel, user and host code.
#pragma once

typedef unsigned int uint;
typedef unsigned short ushort;
typedef unsigned char uchar;

typedef unsigned char uint8;
typedef unsigned short uint16;
typedef unsigned int uint32;
typedef unsigned long uint64;

typedef uint64 pde_t;

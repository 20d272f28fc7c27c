// The kernel's page-table entries and constants; what takes a RISC-V instruction is left out.
#pragma once
#include "../../../../kernel/riscv.h"

#undef csr_read
#define csr_read(csr) 0
#define fence_stores() ((void)0) // nothing is traced here

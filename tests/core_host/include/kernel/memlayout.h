// The kernel's layout, with the direct map where the host can put memory.
#pragma once
#include "../../../../kernel/memlayout.h"

#undef DIRECT_MAP
#define DIRECT_MAP HOST_MAP // given with the compiler: each sanitizer wants another place

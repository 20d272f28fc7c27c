// The kernel's layout, with the direct map where the host can put memory, if it says where.
#pragma once
#include "../../../kernel/memlayout.h"

#ifdef HOST_MAP // given with the compiler: each sanitizer wants another place
#undef DIRECT_MAP
#define DIRECT_MAP HOST_MAP
#endif

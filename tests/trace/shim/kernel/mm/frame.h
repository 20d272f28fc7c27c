// boot_alloc() is the host's heap.
#pragma once
#include <stdlib.h>
#define boot_alloc(bytes) calloc(1, bytes)

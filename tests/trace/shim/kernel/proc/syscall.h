// System call arguments of the host thread that plays the caller.
#pragma once
#include "kernel/types.h"
const uint64 *arguments(void);
uint64 argument(int n);
int argint(int n);

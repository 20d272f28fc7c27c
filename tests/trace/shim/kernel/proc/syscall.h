// System call arguments of the host thread that plays the caller.
#pragma once
#include "kernel/types.h"
uint64 argument(int n);
int argint(int n);

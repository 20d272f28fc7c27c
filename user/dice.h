// Choices at random that follow from a seed: for programs that try many things and must be able to try them again.
#pragma once
#include "kernel/types.h"

// From where this process's next choice follows. Set it to begin a series; who reads it can go on with the series
// elsewhere.
extern uint64 dice_state;

// 64 random bits.
uint64 dice_any(void);
// A number below `sides`, which is not 0.
uint64 dice(uint64 sides);

// An element of an array.
#define PICK(list) (list)[dice(sizeof(list) / sizeof((list)[0]))]

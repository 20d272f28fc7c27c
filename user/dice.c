// Choices at random that follow from a seed.
#include "user/dice.h"

uint64 dice_state;

// The state is a counter with an odd step, so no number stands still; its upper bits are multiplied up and folded
// down, since those of a counter hardly change (any odd multiplier of that size does).
uint64 dice_any(void) {
  dice_state += 0x9e3779b97f4a7c15;
  uint64 x = dice_state;
  x = (x ^ x >> 32) * 0xd6e8feb86659fd93;
  x = (x ^ x >> 32) * 0xd6e8feb86659fd93;
  return x ^ x >> 32;
}

uint64 dice(uint64 sides) {
  return dice_any() % sides;
}

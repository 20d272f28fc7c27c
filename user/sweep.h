// For tests that leave files behind when they fail.
#pragma once

// Removes everything below the current directory, as far as it can be removed. Returns how many names went.
int sweep(void);

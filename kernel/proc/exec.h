// Replacing the running process's program (proc/exec.c).
#pragma once

// argv: 0-terminated, strings in kernel memory. -> argc (the new program's first argument), or -1 with nothing changed.
// Sleeps; no locks held.
int exec(const char *path, char *const argv[]);

// What every layer uses: memory and strings, printing, panic.
// lib/string.c and lib/printf.c implement it; printing relies on dev/uart.c only.
#pragma once
#include "kernel/lib/races.h"
#include <stdarg.h>
#include "kernel/types.h"

// A function that is seldom called: kept out of its callers, whose common path stays short.
#define seldom __attribute__((noinline, cold))

void *memset(void *dst, int c, uint64 n);
void *memcpy(void *dst, const void *src, uint64 n);
void *memmove(void *dst, const void *src, uint64 n);
int memcmp(const void *a, const void *b, uint64 n);
int strncmp(const char *a, const char *b, uint64 n);
int strlen(const char *s);
char *strncpy(char *dst, const char *src, int n);    // pads with zeroes, may leave no terminator
char *safestrcpy(char *dst, const char *src, int n); // always terminated
void page_zero(void *frame);                         // 4096 bytes, by 64-bit stores
void page_copy(void *dst, const void *src);

// Writes at most size bytes, unterminated, and returns how many. The conversions are printf()'s.
int vformat(char *buf, int size, const char *format, va_list args);

// One message, one line on the console even with all harts printing. %d %u %x %p %s %c %lu %ld %lx %%.
void printf(const char *format, ...) __attribute__((format(printf, 1, 2)));
void panic(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
// The return addresses of the calls that led to a function's frame, which is __builtin_frame_address(0) there,
// innermost first: at most max of them. -> how many.
int backtrace(const void *from, uint64 pcs[], int max);
extern volatile int panicked; // set by panic(): other harts stop where they are
// Ends this hart: nothing enabled can wake it, so it costs the host nothing and a debugger finds it here.
void stop_hart(void) __attribute__((noreturn));

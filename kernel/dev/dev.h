// The devices of QEMU virt: uart, interrupt controller, console, disk, power.
// Interrupt handlers run with interrupts off on any hart; none touches user memory.
#pragma once
#include "kernel/types.h"

struct buf;

void uartinit(void);
void uartintr(void);
int uart_write(const char *s, int n);      // may sleep until there is room; n, or fewer if the process was killed
void uart_write_now(const char *s, int n); // one message (up to 1 KiB) in one piece, from any context; never sleeps
void uart_echo(const char *s, int n);      // drops what there is no room for; interrupt handlers
void uart_drain(void);                     // returns when all is sent; polls
void uart_pause_input(void);               // the console is full: leave characters with the sender
void uart_resume_input(void);

void consoleinit(void);
void consoleintr(int c);       // a character typed
int console_takes_input(void); // 0 after pausing the input, if there is no room for a character

void plicinit(void);
void plicinithart(void);
void plic_dispatch(void); // claim, call the device's handler, complete, until none is left

void virtio_disk_init(void);
void virtio_disk_intr(void);

void power_off(void) __attribute__((noreturn));

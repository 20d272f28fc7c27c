// The devices of QEMU virt: uart, interrupt controller, console, disk, power.
// Interrupt handlers run with interrupts off on any hart; none touches user memory.
#pragma once
#include "kernel/types.h"

struct buf;

void uartinit(void);
void uartintr(void);
void uart_write(const char *s, int n);     // may sleep until there is room; process context
void uart_write_now(const char *s, int n); // polls the device; for kernel messages, any context

void consoleinit(void);
void consoleintr(int c); // a character typed

void plicinit(void);
void plicinithart(void);
void plic_dispatch(void); // claim, call the device's handler, complete, until none is left

void virtio_disk_init(void);
void virtio_disk_intr(void);

void power_off(void) __attribute__((noreturn));

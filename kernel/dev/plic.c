// The interrupt controller: any hart takes any device's interrupt. RISC-V PLIC specification 1.0.0; a hart's
// supervisor context on QEMU virt is number 2 * hart + 1.
#include "kernel/dev/dev.h"
#include "kernel/lib/lib.h"
#include "kernel/mm/frame.h"
#include "kernel/proc/proc.h"

static volatile uint32 *reg(uint64 offset) {
  return (volatile uint32 *)kva(PLIC + offset);
}

static volatile uint32 *priority_of(int irq) {
  return reg(4 * irq);
}

static volatile uint32 *enabled(int hart) {
  return reg(0x2000 + 0x80 * (2 * hart + 1)); // interrupts 0 to 31
}

static volatile uint32 *threshold(int hart) {
  return reg(0x200000 + 0x1000 * (2 * hart + 1));
}

// Reading claims the most urgent pending interrupt, writing its number completes it.
static volatile uint32 *claim(int hart) {
  return threshold(hart) + 1;
}

void plicinit(void) {
  *priority_of(UART0_IRQ) = 1;
  *priority_of(VIRTIO0_IRQ) = 1;
}

void plicinithart(void) {
  int hart = mycpu()->id;
  *enabled(hart) = 1 << UART0_IRQ | 1 << VIRTIO0_IRQ;
  *threshold(hart) = 0;
}

void plic_dispatch(void) {
  volatile uint32 *const claimed = claim(mycpu()->id);
  for (uint32 irq; (irq = *claimed) != 0; *claimed = irq) {
    if (irq == UART0_IRQ)
      uartintr();
    else if (irq == VIRTIO0_IRQ)
      virtio_disk_intr();
    else
      printf("plic: interrupt %u from no device we know\n", irq);
  }
}

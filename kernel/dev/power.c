// The end of the machine: QEMU's sifive_test device turns a written word into the emulator's exit.
#include "kernel/dev/dev.h"
#include "kernel/lib/lib.h"
#include "kernel/mm/frame.h"

#define FINISHER_PASS 0x5555

void power_off(void) {
  uart_drain();
  *(volatile uint32 *)kva(TEST_FINISHER) = FINISHER_PASS;
  stop_hart(); // a machine without the device
}

// shutdown(): ends the machine as it stands; what no sync() has saved is lost as in a power cut. Does not return.
uint64 sys_shutdown(void) {
  power_off();
}

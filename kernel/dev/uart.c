// The 16550 of QEMU virt: characters out through one queue, in one at a time to the console. Who writes is never
// interleaved: a process's write (up to what fits) and a kernel message each enter the queue in one piece, and a
// message that meets half a line begins on a fresh one. Registers: National Semiconductor's PC16550D data sheet.
#include "kernel/dev/dev.h"
#include "kernel/lib/lib.h"
#include "kernel/mm/frame.h"
#include "kernel/proc/lock.h"
#include "kernel/proc/proc.h"

enum uart_register { DATA = 0, INTERRUPT_ENABLE = 1, FIFO_CONTROL = 2, LINE_CONTROL = 3, LINE_STATUS = 5 };
#define INTERRUPT_RECEIVE 1  // INTERRUPT_ENABLE: a character has come
#define INTERRUPT_TRANSMIT 2 // INTERRUPT_ENABLE: the transmitter is empty
#define FIFO_ON_AND_CLEAR 7
#define LINE_8_BITS 3
#define STATUS_RECEIVED 1
#define STATUS_EMPTY 0x20 // the transmit FIFO takes FIFO_SIZE characters
#define FIFO_SIZE 16

#define QUEUE_SIZE 4096 // a power of two
#define ECHO_ROOM 512   // input waits while the queue has less: each character typed is sure of its echo

static struct {
  struct spinlock writers; // a writer holds it from finding the queue full until it sleeps
  struct spinlock lock;    // rank print, so that any context can send; guards the fields below and the device
  uint head, tail;         // characters sent and queued so far; [head, tail) modulo QUEUE_SIZE wait
  int want_room;           // does a writer sleep for room?
  int paused;              // reasons for not taking input: enum pause
  uchar enabled;           // what INTERRUPT_ENABLE holds
  char last;               // the character queued last
  char queue[QUEUE_SIZE];
} uart;

enum pause { PAUSE_ECHO = 1, PAUSE_LINES = 2 };

static volatile uchar *reg(enum uart_register r) {
  return (volatile uchar *)kva(UART0) + r;
}

void uartinit(void) {
  initlock(&uart.writers, RANK_UART);
  initlock(&uart.lock, RANK_PRINT);
  uart.last = '\n';
  *reg(LINE_CONTROL) = LINE_8_BITS;
  *reg(FIFO_CONTROL) = FIFO_ON_AND_CLEAR;
  *reg(INTERRUPT_ENABLE) = uart.enabled = INTERRUPT_RECEIVE;
}

static uint room(void) {
  return QUEUE_SIZE - (uart.tail - uart.head);
}

// Gives the device what it can take and asks for the interrupts still needed. Lock held.
static void pump(void) {
  while (uart.head != uart.tail && *reg(LINE_STATUS) & STATUS_EMPTY)
    for (int i = 0; i < FIFO_SIZE && uart.head != uart.tail; i++)
      *reg(DATA) = uart.queue[uart.head++ % QUEUE_SIZE];
  if (room() >= ECHO_ROOM)
    uart.paused &= ~PAUSE_ECHO;
  uchar wanted = uart.paused ? 0 : INTERRUPT_RECEIVE;
  if (uart.head != uart.tail || uart.want_room) // a sleeping writer is woken by uartintr() even if others sent it all
    wanted |= INTERRUPT_TRANSMIT;
  if (wanted != uart.enabled)
    *reg(INTERRUPT_ENABLE) = uart.enabled = wanted;
}

// Queues n characters, for which there is room. Lock held.
static void append(const char *s, int n) {
  for (int i = 0; i < n; i++)
    uart.queue[uart.tail++ % QUEUE_SIZE] = s[i];
  if (n > 0)
    uart.last = s[n - 1];
}

// Queues what of n characters there is room for; -> how many. Lock held.
static int append_some(const char *s, int n) {
  pump();
  int some = (uint)n < room() ? n : (int)room();
  append(s, some);
  pump();
  return some;
}

int uart_write(const char *s, int n) {
  int done = 0;
  acquire(&uart.writers);
  while (done < n) {
    acquire(&uart.lock);
    done += append_some(s + done, n - done);
    if (done < n) {
      uart.want_room = 1;
      pump();
    }
    release(&uart.lock);
    if (done < n && sleep_killable(&uart.want_room, &uart.writers) < 0)
      break;
  }
  release(&uart.writers);
  return done;
}

void uart_echo(const char *s, int n) {
  acquire(&uart.lock);
  append_some(s, n);
  release(&uart.lock);
}

// Whole message, after all that was queued before it; polls the device only if the queue is full or the kernel is
// dying. Then the lock is taken as far as possible only: its holder may be the hart that died, or was stopped.
void uart_write_now(const char *s, int n) {
  push_off();
  int locked = !panicked;
  if (locked)
    acquire(&uart.lock);
  for (pump(); room() < (uint)n + 1; pump())
    ;
  if (uart.last != '\n')
    append("\n", 1);
  append(s, n);
  for (pump(); panicked && uart.head != uart.tail; pump())
    ;
  if (locked)
    release(&uart.lock);
  pop_off();
}

void uart_drain(void) {
  acquire(&uart.lock);
  while (uart.head != uart.tail)
    pump();
  release(&uart.lock);
}

static void set_paused(int set, int clear) {
  acquire(&uart.lock);
  uart.paused = (uart.paused | set) & ~clear;
  pump();
  release(&uart.lock);
}

void uart_pause_input(void) {
  set_paused(PAUSE_LINES, 0);
}

void uart_resume_input(void) {
  set_paused(0, PAUSE_LINES);
}

// The next character received; -1 if there is none, or if its echo would find no room.
static int receive(void) {
  int c = -1;
  acquire(&uart.lock);
  if (*reg(LINE_STATUS) & STATUS_RECEIVED) {
    if (room() >= ECHO_ROOM)
      c = *reg(DATA);
    else
      uart.paused |= PAUSE_ECHO;
  }
  release(&uart.lock);
  return c;
}

void uartintr(void) {
  int c;
  while (console_takes_input() && (c = receive()) >= 0)
    consoleintr(c);
  acquire(&uart.lock);
  pump();
  int wake = uart.want_room && room() >= QUEUE_SIZE / 2;
  if (wake) {
    uart.want_room = 0;
    pump();
  }
  release(&uart.lock);
  if (wake) {
    acquire(&uart.writers); // whoever asked for room sleeps by now
    wakeup(&uart.want_room);
    release(&uart.writers);
  }
}

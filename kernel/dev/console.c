// The console: lines typed, edited and read; bytes written. Sends and receives through dev/uart.c.
// Keys: ^H or DEL erases a character, ^U the line, ^D ends the input, ^P lists the processes.
// What is typed ahead is kept, and when the buffer is full the sender waits: nothing pasted is lost.
#include "kernel/dev/dev.h"
#include "kernel/file.h"
#include "kernel/lib/lib.h"
#include "kernel/mm/user.h"
#include "kernel/proc/lock.h"
#include "kernel/proc/proc.h"

#define CTRL(letter) ((letter) - '@')
#define DEL 0x7f
#define INPUT_SIZE 8192 // a power of two
#define ERASE_MAX 80    // a longer line is given up by starting a new one: backspaces don't climb rows
#define WRITE_CHUNK 256 // bytes of a write taken out of user memory at a time

// Positions count characters since boot; position n is in input[n % INPUT_SIZE].
// [read, ready) are whole lines to be read, [ready, edit) is the line being typed.
static struct {
  struct spinlock lock; // guards all of this
  uint read, ready, edit;
  int readers; // processes that sleep for a line
  char input[INPUT_SIZE];
} console;

static char *at(uint position) {
  return &console.input[position % INPUT_SIZE];
}

int console_takes_input(void) {
  acquire(&console.lock);
  int takes = console.edit - console.read < INPUT_SIZE;
  if (!takes)
    uart_pause_input(); // the lock keeps a reader from making room in between
  release(&console.lock);
  return takes;
}

static void erase_line(void) {
  uint n = console.edit - console.ready;
  console.edit = console.ready;
  if (n > ERASE_MAX)
    uart_echo("\n", 1);
  for (; n > 0 && n <= ERASE_MAX; n--)
    uart_echo("\b \b", 3);
}

// Hands the line being typed to the readers.
static void line_ready(void) {
  console.ready = console.edit;
  if (console.readers > 0)
    wakeup(&console.ready);
}

// Takes no lock, so that it also answers when a lock is what everyone waits for.
static void procdump(void) {
  static const char *const states[] = {
      [UNUSED] = "unused",     [USED] = "new",        [SLEEPING] = "sleep",
      [RUNNABLE] = "runnable", [RUNNING] = "running", [ZOMBIE] = "zombie",
  };
  for (struct proc *p = proc; p < &proc[NPROC]; p++) {
    uint state = READ_ONCE(p->state);
    if (state != UNUSED)
      printf("%d %s %s hart %d\n", p->pid, state < sizeof(states) / sizeof(states[0]) ? states[state] : "?", p->name,
             READ_ONCE(p->hart));
  }
}

void consoleintr(int typed) {
  char c = typed == '\r' ? '\n' : typed;
  acquire(&console.lock);
  if (c == CTRL('P')) {
    procdump();
    for (uint i = console.ready; i != console.edit; i++) // what was typed so far, again
      uart_echo(at(i), 1);
  } else if (c == CTRL('U')) {
    erase_line();
  } else if (c == CTRL('H') || c == DEL) {
    if (console.edit != console.ready) {
      console.edit--;
      uart_echo("\b \b", 3);
    }
  } else if (c != '\0') {
    *at(console.edit++) = c;
    if (c != CTRL('D'))
      uart_echo(&c, 1);
    if (c == '\n' || c == CTRL('D') || console.edit - console.read == INPUT_SIZE)
      line_ready();
  }
  release(&console.lock);
}

// How many characters a read of at most n takes: up to the end of the line, not past where ^D was typed.
static uint line_length(uint n) {
  for (uint i = 0; i < n && console.read + i != console.ready; i++) {
    char c = *at(console.read + i);
    if (c == CTRL('D'))
      return i;
    if (c == '\n')
      return i + 1;
  }
  return n < console.ready - console.read ? n : console.ready - console.read;
}

// Copies the next n characters to dst and takes them out. Lock held. -> n, or -1 with nothing taken.
static int take_input(struct span dst, uint n) {
  uint whole = INPUT_SIZE - console.read % INPUT_SIZE; // up to where the buffer wraps
  uint first = n < whole ? n : whole;
  if (span_check(span_part(dst, 0, n), ACCESS_WRITE) < 0 || span_write(dst, 0, at(console.read), first) < 0 ||
      span_write(dst, first, console.input, n - first) < 0)
    return -1;
  console.read += n;
  return n;
}

// One line, or as much of it as fits; 0 where ^D was typed; -1 for a bad buffer or if the process is killed.
static int console_read(struct span dst) {
  if (dst.size == 0)
    return 0;
  acquire(&console.lock);
  while (console.read == console.ready) {
    console.readers++;
    int failed = sleep_killable(&console.ready, &console.lock);
    console.readers--;
    if (failed) {
      release(&console.lock);
      return -1;
    }
  }
  uint n = line_length(dst.size < INPUT_SIZE ? dst.size : INPUT_SIZE);
  int result = n > 0 ? take_input(dst, n) : 0;
  if (n == 0)
    console.read++; // the ^D
  uart_resume_input();
  release(&console.lock);
  return result;
}

static int console_write(struct span src) {
  char chunk[WRITE_CHUNK];
  if (span_check(src, ACCESS_READ) < 0)
    return -1;
  uint64 done = 0;
  while (done < src.size) {
    uint64 n = src.size - done < sizeof(chunk) ? src.size - done : sizeof(chunk);
    if (span_read(chunk, src, done, n) < 0)
      return done > 0 ? (int)done : -1;
    int sent = uart_write(chunk, n);
    done += sent;
    if (sent < (int)n)
      return done > 0 ? (int)done : -1;
  }
  return done;
}

void consoleinit(void) {
  initlock(&console.lock, RANK_CONSOLE);
  devsw[CONSOLE].read = console_read;
  devsw[CONSOLE].write = console_write;
}

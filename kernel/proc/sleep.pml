/* Promela model of sleep_killable(), wakeup() and kill() (sleep.c), and of how a process leaves one hart and goes on on
   another (sched.c). Checked exhaustively by tests/test_spin.py.

   A sleeper waits for a condition under a lock; a waker on another hart makes it true, a killer on a third kills the
   sleeper; a fourth hart takes it from the run queue. Stores of `chan` and `killed` wait in their hart's store buffer,
   so a load may overtake them; a fence, or the release of a lock, empties it. What must hold:
     the sleeper comes back if the condition was made true or it was killed (spin reports anything else as a deadlock);
     it never runs on two harts at once.
   Removed one at a time, each of these makes it fail:
     NO_FENCE       block(): the fence between the store of chan and the load of killed
     NO_KILL_FENCE  unsleep(): the fence between the store of killed and the load of chan
     NO_CHAN_FIRST  block(): chan is published before killed is read
     EARLY_RELEASE  block(): lk is let go only when the bucket's lock is held
     NO_ON_HART     hand_over(): waits until the process has left its old hart
   The waker alone, the killer alone, and both are tried. */

mtype = { RUNNING, SLEEPING, RUNNABLE };

bool condition;                       /* guarded by lk */
bool lk, bucket, runq;                /* locks */
mtype state = RUNNING;                /* of the sleeper, as are the next ones */
bool channel, channel_store, channel_pending;  /* memory; the store buffer of the sleeper's hart */
bool killed, killed_pending;          /* memory; the killer's buffer */
bool linked, queued, on_hart = true, saved;
byte running = 1;                     /* harts that run it */

inline acquire(lock) { atomic { !lock -> lock = true } }
inline release(lock) { atomic { assert(lock); lock = false } }

inline drain_channel() { atomic { if :: channel_pending -> channel = channel_store; channel_pending = false :: else -> skip fi } }
inline drain_killed() { atomic { if :: killed_pending -> killed = true; killed_pending = false :: else -> skip fi } }

/* buffers drain by themselves, some time */
active proctype memory() {
end:
  do
  :: atomic { channel_pending -> channel = channel_store; channel_pending = false }
  :: atomic { killed_pending -> killed = true; killed_pending = false }
  od
}

/* wake(): out of the bucket and into a run queue; the bucket's lock is held */
inline wake() {
  atomic { assert(linked); linked = false; channel = false };
  state = RUNNABLE;
  acquire(runq);
  queued = true;
  release(runq)
}

/* block(): 0 or -1; lk is held before and after. `seen` is what it found killed to be. */
inline block() {
#ifdef EARLY_RELEASE
  release(lk);
#endif
  acquire(bucket);
#ifdef NO_CHAN_FIRST
  seen = killed;
#endif
  atomic { channel_store = true; channel_pending = true };
#ifndef NO_FENCE
  drain_channel();
#endif
#ifndef NO_CHAN_FIRST
  seen = killed;
#endif
  if
  :: seen ->
    atomic { channel_store = false; channel_pending = true };
    drain_channel();
    release(bucket);
#ifdef EARLY_RELEASE
    acquire(lk)
#else
    skip
#endif
  :: else ->
    state = SLEEPING;
    linked = true;
#ifndef EARLY_RELEASE
    release(lk);
#endif
    drain_channel(); /* release() makes all before it visible */
    release(bucket);
    /* sched(): registers saved, then the hart lets go; from here on another hart carries this process on */
    atomic { saved = true; running-- };
    on_hart = false;
    resume ? 1;
    acquire(lk);
    seen = killed
  fi
}

chan resume = [0] of { bit };

active proctype sleeper() {
  bool seen;
  acquire(lk);
  do
  :: condition || seen -> break
  :: else -> block()
  od;
  release(lk)
}

/* The hart that takes the sleeper from the run queue (dequeue, hand_over, run). */
active proctype hart() {
end:
  do
  :: queued ->
    acquire(runq);
    queued = false;
    release(runq);
#ifndef NO_ON_HART
    !on_hart; /* spins */
#endif
    atomic { on_hart = true; state = RUNNING; running++; assert(running == 1 && saved); saved = false };
    resume ! 1
  od
}

inline wakeup() {
  acquire(bucket);
  if :: linked && channel -> wake() :: else -> skip fi;
  release(bucket)
}

inline unsleep() {
#ifndef NO_KILL_FENCE
  drain_killed();
#endif
  if
  :: channel -> /* looked at without the lock */
    acquire(bucket);
    if :: state == SLEEPING && linked && channel -> wake() :: else -> skip fi;
    release(bucket)
  :: else -> skip
  fi
}

proctype waker() {
  if
  :: skip
  :: wakeup() /* of another who sleeps on the same address: this one must look again */
  fi;
  acquire(lk);
  condition = true;
  wakeup();
  release(lk)
}

/* setkilled(); kill() holds the tree's lock around it, which nobody else here takes */
proctype killer() {
  killed_pending = true;
  unsleep()
}

init {
  if
  :: run waker()
  :: run killer()
  :: atomic { run waker(); run killer() }
  fi
}

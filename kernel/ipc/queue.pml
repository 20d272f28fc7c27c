/* Promela model of the crypto queue (shmem_queue.c, syscrypt.c, server.c): clients that are killed at any moment, and a
   server that dies at any moment and starts again. Checked exhaustively by tests/test_spin.py.

   What runs under the queue's lock is one atomic step, since nothing else looks at the queue; a sleep ends the step, and
   that no wakeup is lost between a step and its sleep is the matter of proc/sleep.pml. What must hold:
     every client comes back from crypto_op() and crypto_wait(): spin reports one that does not as a deadlock;
     crypto_wait() gives 0 only for a request that was served, and -1 only for a lost one or to a killed client;
     requests leave in the order of their numbers;
     nobody touches a waiter's record after its client has left it; there is a line only behind a full queue.
   Removed one at a time, each of these makes it fail:
     NO_WAKE_WAITER  pop(): wakes the client it admits
     NO_ADMIT        pop(): admits the oldest client in line
     NO_LEAVE        stand_in_line(): a killed client takes its record out of the line
     NO_FATE         stand_in_line(): a killed client that was admitted meanwhile stays in
     NO_LOSE         queue_server_died(): requests in service are lost
     NO_WAKE_SERVER  insert(): wakes the idle server
     NO_WAKE_CLIENT  finish(): wakes the client
     NO_REFUSE       queue_server_died(for good): refuses the line
     NO_CANCEL       exit cancels what waits or is in service: its slot belongs to another soon */

#ifndef CLIENTS
#define CLIENTS 3
#endif
#define SLOTS 1   /* NSHMEM_REQS */
#ifndef DEATHS
#define DEATHS 1  /* of the server; after the last it may be gone for good */
#endif
#define NONE 255

mtype = { OUTSIDE, IN_LINE, ADMITTED, REFUSED };         /* fate of a client's waiter */
mtype = { NOT_SENT, PENDING, SERVED, LOST, SKIPPED };    /* what became of its request */

byte queue[SLOTS], count, line[CLIENTS], in_line; /* clients, oldest first */
byte service = NONE;                              /* the client whose request is in service */
byte number[CLIENTS], next_number, last_taken;
mtype fate[CLIENTS] = OUTSIDE, end_of[CLIENTS] = NOT_SENT;
bool alive[CLIENTS] = true, killed[CLIENTS], asleep[CLIENTS], awaited[CLIENTS], lost[CLIENTS];
bool cancelled[CLIENTS];
bool idle, server_asleep, server_killed, closed;
byte i;

inline wake(c) { asleep[c] = false }

inline insert(c) {
  queue[count] = c;
  count++;
  if
  :: idle ->
    idle = false;
#ifndef NO_WAKE_SERVER
    server_asleep = false
#endif
  :: else -> skip
  fi
}

/* the waiter at place i of the line leaves it */
inline leave_line() {
  in_line--;
  do :: i < in_line -> line[i] = line[i + 1]; i++ :: else -> break od;
  line[in_line] = 0;
  i = 0
}

/* the oldest request into service, the oldest in line into the queue */
inline pop() {
  service = queue[0];
  count--;
  do :: i < count -> queue[i] = queue[i + 1]; i++ :: else -> break od;
  queue[count] = 0;
  i = 0;
#ifndef NO_ADMIT
  if
  :: in_line > 0 ->
    assert(fate[line[0]] == IN_LINE); /* else its record is gone: it lay on a stack */
    insert(line[0]);
    fate[line[0]] = ADMITTED;
#ifndef NO_WAKE_WAITER
    wake(line[0]);
#endif
    leave_line()
  :: else -> skip
  fi;
#endif
  assert(number[service] >= last_taken); /* they leave in order */
  last_taken = number[service] + 1
}

/* What is done to a client that is gone would be done to the next program in its slot. */
inline finish(c, how) {
  assert(end_of[c] == PENDING);
  end_of[c] = how;
  assert(cancelled[c] || alive[c]);
  if
  :: !cancelled[c] && awaited[c] ->
#ifndef NO_WAKE_CLIENT
    wake(c)
#else
    skip
#endif
  :: else -> skip
  fi
}

inline lose(c) {
  if :: !cancelled[c] -> lost[c] = true :: else -> skip fi;
  finish(c, LOST)
}

#define IS_PENDING(c) (end_of[c] == PENDING && fate[c] != IN_LINE)

/* A client: crypto_op(), and crypto_wait() if that took its request. Killed, it dies when it comes back. */
proctype client(byte c) {
  bool in, result;
  atomic { /* queue_add() */
    if
    :: closed -> goto out
    :: else ->
      number[c] = next_number;
      next_number++;
      end_of[c] = PENDING;
      if
      :: count < SLOTS -> insert(c); in = true
      :: else -> fate[c] = IN_LINE; line[in_line] = c; in_line++
      fi
    fi
  };
  do /* stand_in_line() */
  :: atomic { fate[c] == IN_LINE && !killed[c] -> asleep[c] = true };
    !asleep[c]
#ifdef NO_FATE
  :: atomic { fate[c] != OUTSIDE && killed[c] ->
      end_of[c] = SKIPPED;
      if :: fate[c] == IN_LINE -> do :: line[i] != c -> i++ :: else -> break od; leave_line() :: else -> skip fi;
      fate[c] = OUTSIDE; goto out }
#else
  :: atomic { fate[c] == IN_LINE && killed[c] ->
#ifndef NO_LEAVE
      do :: line[i] != c -> i++ :: else -> break od;
      leave_line();
#endif
      fate[c] = OUTSIDE;
      end_of[c] = SKIPPED;
      goto out
    }
#endif
  :: atomic { fate[c] != IN_LINE -> in = in || fate[c] == ADMITTED; fate[c] = OUTSIDE; break }
  od;
  if
  :: !in -> assert(closed || killed[c])
  :: in -> /* queue_wait() */
    do
    :: atomic { end_of[c] == PENDING && !killed[c] -> awaited[c] = true; asleep[c] = true };
      !asleep[c]
    :: atomic { end_of[c] != PENDING || killed[c] ->
        result = !lost[c] && !killed[c];
        lost[c] = false;
        assert(!result || end_of[c] == SERVED);
        assert(result || killed[c] || end_of[c] == LOST);
        break
      }
    od
  fi;
out:
  atomic { /* exit(): queue_cancel() */
#ifndef NO_CANCEL
    cancelled[c] = end_of[c] == PENDING;
#endif
    alive[c] = false;
    awaited[c] = false;
    assert(fate[c] == OUTSIDE)
  }
}

/* kill(): to each client, at any time or never; it ends every sleep here. One client is as good as another, so they
   come in order. */
proctype killer() {
  byte c;
  do
  :: c == CLIENTS -> break
  :: atomic { c < CLIENTS -> killed[c] = true; asleep[c] = false; c++ }
  :: atomic { c < CLIENTS -> c++ }
  od
}

/* take, map, serve, remove, for ever; it may die before and after each of them */
active proctype server() {
  byte deaths;
  do
  :: atomic { /* queue_take() */
      !server_asleep && service == NONE && count == 0 && !server_killed -> idle = true; server_asleep = true
    };
end:
    !server_asleep
  :: atomic { service == NONE && count > 0 -> idle = false; pop() };
    if
    :: deaths < DEATHS -> goto died /* with what it has taken, before it is mapped: exit() finds it in service */
    :: true
    fi;
    atomic { /* map_request(): the client may be gone, or have given its memory up */
      if
      :: cancelled[service] -> finish(service, SKIPPED); service = NONE
      :: !cancelled[service] -> lose(service); service = NONE /* OUTCOME_REFUSED */
      :: !cancelled[service] -> skip
      fi
    };
    if
    :: service == NONE -> skip
    :: service != NONE && deaths < DEATHS -> goto died
    :: service != NONE -> atomic { finish(service, SERVED); service = NONE } /* queue_finish() */
    fi
  :: deaths < DEATHS && count > 0 -> /* ... or with nothing */
died:
    atomic { /* server_restart(), queue_server_died(0) */
      deaths++;
      idle = false;
#ifndef NO_LOSE
      if :: service != NONE -> lose(service) :: else -> skip fi;
#endif
      service = NONE
    };
    if
    :: deaths == DEATHS -> /* give_up(): queue_server_died(1) */
      atomic {
        closed = true; /* close_queue() */
#ifndef NO_REFUSE
        do
        :: in_line > 0 ->
          assert(fate[line[0]] == IN_LINE);
          fate[line[0]] = REFUSED;
          end_of[line[0]] = LOST;
          wake(line[0]);
          leave_line()
        :: else -> break
        od;
#endif
        do
        :: count > 0 -> count--; lose(queue[count]); queue[count] = 0
        :: else -> break
        od
      };
      break
    :: true
    fi
  od
}

init {
  byte c;
  atomic {
    run killer();
    do
    :: c < CLIENTS -> run client(c); c++
    :: else -> break
    od
  }
}

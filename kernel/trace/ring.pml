/* Promela model of a trace ring: one hart that emits and is interrupted while it does (trace.h: trace_emit), and a
   reader on another hart (systrace.c: copy_record, sys_trace_read). Checked exhaustively by tests/test_spin.py.

   Memory is weak as RVWMO allows: a store goes into the emitter's store buffer and from there to memory in any order,
   but for two of the same address and for those that fence_stores() keeps apart. The amoadd on head acts on memory at
   once and, being an acquire, before any later store of its hart; it does not wait for earlier ones. Loads: the reader's
   acquire and its fence give the order written here, between them the words are read in any order.

   A record has two words and its sequence; record n holds n + 1 in all of them. What must hold:
     what the reader takes for record n is record n, whole;
     every record is read or counted as lost, none twice.
   Removed one at a time, each of these makes it fail:
     NO_FENCE       fence_stores() before the sequence is stored
     NO_ACQUIRE     the sequence is loaded before the words
     NO_HEAD_CHECK  head is looked at after the copy
     EARLY_HEAD     ... after the copy, not before it (the fence between the two)
     MANY           interrupts in the middle of one emission emit fewer records than the ring holds (SMALLEST_RING) */

#define CAPACITY 2
#ifndef TOTAL
#define TOTAL 4 /* records emitted, those of interrupts included */
#endif
#define BUFFER 6   /* stores that may wait for memory */
#ifdef MANY
#define NESTED CAPACITY
#else
#define NESTED (CAPACITY - 1)
#endif

/* memory; cell 0 and 1 of a slot are its words, 2 its sequence */
byte cell[CAPACITY * 3];
byte head;

/* the store buffer, oldest first; epoch counts the fences before the store */
byte waiting;
byte target[BUFFER], value[BUFFER], epoch[BUFFER];
byte now;

byte emitted; /* emissions begun */

inline store(slot, field, v) {
  atomic {
    waiting < BUFFER;
    target[waiting] = (slot) * 3 + field;
    value[waiting] = v;
    epoch[waiting] = now;
    waiting++
  }
}

inline fence_stores() {
#ifdef NO_FENCE
  skip
#else
  d_step { if :: waiting > 0 && epoch[waiting - 1] == now -> now++ :: else -> skip fi }
#endif
}

/* Memory takes a store: one that no fence holds back behind another, the oldest of its cell. */
active proctype drain() {
  byte i, j;
  bool free;
end:
  do
  :: atomic {
      waiting > 0 ->
      i = 0;
      do :: i + 1 < waiting -> i++ :: break od;
      free = epoch[i] == epoch[0];
      j = 0;
      do :: j < i -> free = free && target[j] != target[i]; j++ :: else -> break od;
      if
      :: free ->
        cell[target[i]] = value[i];
        do
        :: i + 1 < waiting ->
          target[i] = target[i + 1];
          value[i] = value[i + 1];
          epoch[i] = epoch[i + 1];
          i++
        :: else -> break
        od;
        waiting--;
        target[waiting] = 0;
        value[waiting] = 0;
        epoch[waiting] = 0;
        if :: waiting == 0 -> now = 0 :: else -> skip fi
      :: else -> skip
      fi;
      i = 0;
      j = 0;
      free = false
    }
  od
}

/* trace_emit() without interrupts in it: what an interrupt runs */
inline emit_nested() {
  atomic { emitted++; m = head; head++ }; /* amoadd.d.aq on head */
  store(m % CAPACITY, 0, m + 1);          /* r->args */
  store(m % CAPACITY, 1, m + 1);
  fence_stores();
  store(m % CAPACITY, 2, m + 1)           /* r->sequence = n + 1 */
}

/* between two instructions: any number of interrupts, up to the bound in one emission */
inline interrupts() {
  do
  :: nested < NESTED && emitted < TOTAL -> nested++; emit_nested(); m = 0
  :: break
  od
}

active proctype emitter() {
  byte n, m, nested;
  do
  :: emitted < TOTAL ->
    atomic { emitted++; n = head; head++; nested = 0 };
    interrupts();
    store(n % CAPACITY, 0, n + 1);
    interrupts();
    store(n % CAPACITY, 1, n + 1);
    interrupts();
    fence_stores();
    interrupts();
    store(n % CAPACITY, 2, n + 1)
  :: else -> break
  od
}

/* sys_trace_read(), called again and again until all that was emitted has been read or lost */
active proctype reader() {
  byte position, read, lost, keep = CAPACITY, seen, w0, w1, after;
  do
  :: position == TOTAL -> break
  :: else ->
    atomic { head > position -> after = head };
    d_step {
      if
      :: after - position > keep -> lost = lost + after - keep - position; position = after - keep
      :: else -> skip
      fi
    };
    /* copy_record() */
#ifdef EARLY_HEAD
    after = head;
#endif
#ifdef NO_ACQUIRE
    w0 = cell[(position % CAPACITY) * 3];
    w1 = cell[(position % CAPACITY) * 3 + 1];
    seen = cell[(position % CAPACITY) * 3 + 2];
#else
    seen = cell[(position % CAPACITY) * 3 + 2]; /* load acquire */
    if
    :: w0 = cell[(position % CAPACITY) * 3]; w1 = cell[(position % CAPACITY) * 3 + 1]
    :: w1 = cell[(position % CAPACITY) * 3 + 1]; w0 = cell[(position % CAPACITY) * 3]
    fi;
#endif
#ifndef EARLY_HEAD
    after = head; /* behind a fence: after the copy */
#endif
    d_step {
      if
#ifndef NO_HEAD_CHECK
      :: after > position + CAPACITY -> if :: keep > 1 -> keep-- :: else -> skip fi /* OVERWRITTEN: keep -= keep / 4 */
      :: after <= position + CAPACITY && seen == position + 1 ->                    /* COPIED */
#else
      :: seen == position + 1 ->
#endif
        assert(w0 == position + 1 && w1 == position + 1);
        read++;
        position++
#ifndef NO_HEAD_CHECK
      :: after <= position + CAPACITY && seen != position + 1 -> skip /* BUSY: the call ends, and there is another */
#else
      :: seen != position + 1 -> skip
#endif
      fi;
      seen = 0; w0 = 0; w1 = 0; after = 0
    }
  od;
  assert(read + lost == TOTAL && head == TOTAL)
}

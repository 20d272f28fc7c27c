// The queue between clients and the crypto server. Each sleeper is woken for its own event only: the server for a
// request when it is idle, the oldest client in line for the slot it has been given, a waiting client for its answer.
#include "kernel/ipc/shmem_queue.h"
#include "kernel/crypto.h"
#include "kernel/lib/lib.h"
#include "kernel/mm/frame.h"
#include "kernel/mm/vm.h"
#include "kernel/proc/lock.h"
#include "kernel/proc/proc.h"
#include "kernel/trace/trace.h"

struct shmem_queue shmem_queue;
static struct shmem_queue *const q = &shmem_queue;

void queue_init(void) {
  initlock(&q->lock, RANK_QUEUE);
  q->tail = &q->line;
}

// Into the queue, which has room. Lock held.
static void insert(const struct shmem_request *request) {
  request->client->crypto.open++;
  q->requests[q->write_idx] = *request;
  q->write_idx = (q->write_idx + 1) % NSHMEM_REQS;
  q->count++;
  if (q->idle) {
    q->idle = 0;
    wakeup(&q->idle);
  }
}

// Out of the line, with its fate decided. Lock held.
static void leave_line(struct shmem_waiter *w) {
  struct shmem_waiter **link = &q->line;
  while (*link != w)
    link = &(*link)->next;
  *link = w->next;
  if (q->tail == &w->next)
    q->tail = link;
  q->in_line--;
}

// Sleeps in the line behind a full queue. Lock held. -> 0 once in the queue, -1 if refused or killed.
static int stand_in_line(struct shmem_waiter *w) {
  w->fate = IN_LINE;
  w->next = 0;
  *q->tail = w;
  q->tail = &w->next;
  q->in_line++;
  while (w->fate == IN_LINE)
    if (sleep_killable(w, &q->lock) < 0 && w->fate == IN_LINE) {
      leave_line(w);
      trace(TRACE_COMPLETE, w->request.number, w->request.src_pid, OUTCOME_SKIPPED);
      return -1;
    }
  return w->fate == ADMITTED ? 0 : -1;
}

// ---- a client's view of its requests ----

#define PLACES (2 * NSHMEM_REQS)

// Request i of p's among PLACES places, those of the queue and those of service; 0 if it is not p's. Lock held.
static struct shmem_request *request_of(struct proc *p, uint i) {
  if (i >= q->count && i < NSHMEM_REQS)
    return 0;
  struct shmem_request *r =
      i < NSHMEM_REQS ? &q->requests[(q->read_idx + i) % NSHMEM_REQS] : &q->service[i - NSHMEM_REQS].request;
  return r->src_pid == p->pid && !r->cancelled ? r : 0;
}

// Takes va out of the lost ones: 1 if it was among them. Lock held.
static int forget_lost(struct crypto_client *c, uint64 va) {
  for (uint i = 0; i < c->lost; i++)
    if (c->where[i] == va) {
      c->where[i] = c->where[--c->lost];
      return 1;
    }
  return 0;
}

static void note_lost(struct crypto_client *c, uint64 va) {
  if (c->lost == LOST_MAX)
    memmove(c->where, c->where + 1, --c->lost * sizeof(c->where[0]));
  c->where[c->lost++] = va;
}

// What p asked at va before is no longer what crypto_wait(va) tells of. Lock held.
static void supersede(struct proc *p, uint64 va) {
  struct shmem_request *r;
  forget_lost(&p->crypto, va);
  for (uint i = 0; p->crypto.open && i < PLACES; i++)
    if ((r = request_of(p, i)) && r->src_va == va)
      r->superseded = 1;
}

void queue_cancel(struct proc *p) {
  struct shmem_request *r;
  acquire(&q->lock);
  for (uint i = 0; p->crypto.open && i < PLACES; i++)
    if ((r = request_of(p, i)))
      __atomic_store_n(&r->cancelled, 1, __ATOMIC_RELAXED);
  p->crypto.open = p->crypto.lost = 0;
  release(&q->lock);
}

int queue_cancelled(struct shmem_service *s) {
  return __atomic_load_n(&s->request.cancelled, __ATOMIC_RELAXED);
}

struct proc *queue_client(struct shmem_service *s) {
  struct proc *client = 0;
  acquire(&q->lock);
  if (!s->request.cancelled) {
    client = s->request.client; // it would have to take our lock, and cancel, before it could go
    pin(client);
  }
  release(&q->lock);
  return client;
}

int queue_add(uint64 va, uint64 size) {
  struct proc *p = myproc();
  acquire(&q->lock);
  if (q->closed) {
    release(&q->lock);
    return -1;
  }
  supersede(p, va);
  struct shmem_waiter w = {.request = {.src_pid = p->pid,
                                       .dst_pid = CRYPTO_SRV_PID,
                                       .src_va = va,
                                       .size = size,
                                       .number = q->next_number++,
                                       .client = p}};
  trace(TRACE_ENQUEUE, w.request.number, va, size, q->count + q->in_line + 1);
  int result = 0;
  if (q->count < NSHMEM_REQS)
    insert(&w.request);
  else
    result = stand_in_line(&w);
  release(&q->lock);
  return result;
}

// Has p a request at va? Marks it awaited. Lock held.
static int is_pending(struct proc *p, uint64 va) {
  struct shmem_request *r;
  int pending = 0;
  for (uint i = 0; p->crypto.open && i < PLACES; i++)
    if ((r = request_of(p, i)) && r->src_va == va)
      pending = r->awaited = 1;
  return pending;
}

int queue_wait(uint64 va) {
  struct proc *p = myproc();
  int killed = 0;
  acquire(&q->lock);
  while (!killed && is_pending(p, va))
    killed = sleep_killable(&p->crypto, &q->lock) < 0;
  int lost = forget_lost(&p->crypto, va);
  release(&q->lock);
  return killed || lost ? -1 : 0;
}

// The oldest request leaves the queue and the oldest client in line enters it. Lock held, queue not empty.
static struct shmem_request pop(void) {
  struct shmem_request request = q->requests[q->read_idx];
  q->read_idx = (q->read_idx + 1) % NSHMEM_REQS;
  q->count--;
  struct shmem_waiter *w = q->line;
  if (w) {
    leave_line(w);
    insert(&w->request);
    w->fate = ADMITTED;
    wakeup(w); // it cannot return, and w go, before it has the lock
  }
  return request;
}

static struct shmem_service *free_service(void) {
  for (uint i = 0; i < NSHMEM_REQS; i++)
    if (q->service[i].request.src_pid == 0)
      return &q->service[i];
  return 0;
}

struct shmem_service *queue_take(void) {
  acquire(&q->lock);
  struct shmem_service *s = free_service();
  while (s && q->count == 0) {
    q->idle = 1;
    if (sleep_killable(&q->idle, &q->lock) < 0)
      s = 0;
  }
  q->idle = 0;
  if (s) {
    s->request = pop();
    s->server_va = 0;
    struct shmem_request *r = &s->request;
    trace(TRACE_DEQUEUE, r->number, r->src_pid, r->src_va, r->size, q->count + q->in_line);
  }
  release(&q->lock);
  return s;
}

struct shmem_service *queue_find(uint64 server_va, uint64 size) {
  struct shmem_service *found = 0;
  acquire(&q->lock);
  for (struct shmem_service *s = q->service; s < &q->service[NSHMEM_REQS]; s++)
    if (s->request.src_pid != 0 && s->server_va == server_va && s->request.size == size)
      found = s;
  release(&q->lock);
  return found;
}

// Tells the trace and the client that r has ended. Lock held.
static void finish(struct shmem_request *r, enum trace_outcome outcome) {
  trace(TRACE_COMPLETE, r->number, r->src_pid, outcome);
  q->served += outcome == OUTCOME_SERVED;
  if (!r->cancelled) {
    r->client->crypto.open--;
    if (r->awaited)
      wakeup(&r->client->crypto);
  }
  r->src_pid = 0;
}

void queue_finish(struct shmem_service *s, enum trace_outcome outcome) {
  acquire(&q->lock);
  finish(&s->request, outcome);
  release(&q->lock);
}

// Turns INIT into ERROR in a request's state word, in the client's own frame. The word is aligned (sys_crypto_op), so
// it lies in one page. A page the client has since given up, or would copy before writing, is left alone, and so is
// another program's.
static void answer_error(struct proc *client, struct shmem_service *s) {
  uint64 state_va = s->request.src_va + __builtin_offsetof(struct crypto_op, state);
  acquire(&client->memory_lock);
  pte_t *pte = client->pagetable && !queue_cancelled(s) ? walk(client->pagetable, state_va, 0) : 0;
  const uint64 needed = PTE_V | PTE_U | PTE_W;
  if (pte && (*pte & (needed | PTE_COW)) == needed) {
    uint *state = (uint *)((uchar *)kva(PTE2PA(*pte)) + state_va % PGSIZE);
    uint init = CRYPTO_OP_STATE_INIT;
    __atomic_compare_exchange_n(state, &init, CRYPTO_OP_STATE_ERROR, 0, __ATOMIC_RELEASE, __ATOMIC_RELAXED);
  }
  release(&client->memory_lock);
}

void queue_lose(struct shmem_service *s, enum trace_outcome outcome) {
  struct shmem_request *r = &s->request;
  struct proc *client = queue_client(s);
  if (client)
    answer_error(client, s);
  acquire(&q->lock);
  if (!r->cancelled && !r->superseded)
    note_lost(&r->client->crypto, r->src_va);
  finish(r, outcome);
  release(&q->lock);
  if (client)
    unpin(client);
}

// Refuses those who stand in line. Lock held.
static void close_queue(void) {
  q->closed = 1;
  for (struct shmem_waiter *w; (w = q->line) != 0; wakeup(w)) {
    leave_line(w);
    w->fate = REFUSED;
  }
}

// The server's process runs this, so nobody takes or finishes requests meanwhile.
void queue_server_died(int for_good) {
  acquire(&q->lock);
  q->idle = 0;
  if (for_good)
    close_queue();
  release(&q->lock);
  for (struct shmem_service *s = q->service; s < &q->service[NSHMEM_REQS]; s++)
    if (s->request.src_pid != 0)
      queue_lose(s, OUTCOME_LOST);
  while (for_good && q->count > 0) {
    acquire(&q->lock);
    q->service[0].request = pop();
    release(&q->lock);
    queue_lose(&q->service[0], OUTCOME_LOST);
  }
}

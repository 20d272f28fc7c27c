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

int queue_add(uint64 va, uint64 size) {
  struct proc *p = myproc();
  acquire(&q->lock);
  if (q->closed) {
    release(&q->lock);
    return -1;
  }
  if (p->crypto_lost == va) // what was lost is being tried again
    p->crypto_lost = 0;
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

// Marks r awaited if it is p's request at va.
static int is_awaited(struct shmem_request *r, struct proc *p, uint64 va) {
  if (r->src_pid != p->pid || r->src_va != va)
    return 0;
  r->awaited = 1;
  return 1;
}

static int is_pending(struct proc *p, uint64 va) {
  int pending = 0;
  for (uint i = 0; i < q->count; i++)
    pending |= is_awaited(&q->requests[(q->read_idx + i) % NSHMEM_REQS], p, va);
  for (uint i = 0; i < NSHMEM_REQS; i++)
    pending |= is_awaited(&q->service[i].request, p, va);
  return pending;
}

int queue_wait(uint64 va) {
  struct proc *p = myproc();
  int killed = 0;
  acquire(&q->lock);
  while (!killed && is_pending(p, va))
    killed = sleep_killable(&p->crypto_lost, &q->lock) < 0;
  int lost = p->crypto_lost == va;
  if (lost)
    p->crypto_lost = 0;
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
  r->src_pid = 0;
  q->served += outcome == OUTCOME_SERVED;
  if (r->awaited)
    wakeup(&r->client->crypto_lost);
}

void queue_finish(struct shmem_service *s, enum trace_outcome outcome) {
  acquire(&q->lock);
  finish(&s->request, outcome);
  release(&q->lock);
}

// Turns INIT into ERROR in a request's state word, in the client's own frame. The word is aligned (sys_crypto_op), so
// it lies in one page. A page the client has since given up, or would copy before writing, is left alone.
static void answer_error(struct proc *client, uint64 op) {
  uint64 state_va = op + __builtin_offsetof(struct crypto_op, state);
  acquire(&client->memory_lock);
  pte_t *pte = client->pagetable ? walk(client->pagetable, state_va, 0) : 0;
  const uint64 needed = PTE_V | PTE_U | PTE_W;
  if (pte && (*pte & (needed | PTE_COW)) == needed) {
    uint *state = (uint *)((uchar *)kva(PTE2PA(*pte)) + state_va % PGSIZE);
    uint init = CRYPTO_OP_STATE_INIT;
    __atomic_compare_exchange_n(state, &init, CRYPTO_OP_STATE_ERROR, 0, __ATOMIC_RELEASE, __ATOMIC_RELAXED);
  }
  release(&client->memory_lock);
}

// Tree lock and queue lock held.
static void lose(struct shmem_request *r, enum trace_outcome outcome) {
  struct proc *client = find_proc(r->src_pid);
  if (client) {
    client->crypto_lost = r->src_va;
    answer_error(client, r->src_va);
  }
  finish(r, outcome);
}

void queue_lose(struct shmem_service *s, enum trace_outcome outcome) {
  acquire(&q->lock);
  lose(&s->request, outcome);
  release(&q->lock);
}

void queue_server_died(int for_good) {
  acquire(&tree_lock);
  acquire(&q->lock);
  q->idle = 0;
  for (struct shmem_service *s = q->service; s < &q->service[NSHMEM_REQS]; s++)
    if (s->request.src_pid != 0)
      lose(&s->request, OUTCOME_LOST);
  if (for_good) {
    q->closed = 1;
    for (; q->count > 0; q->count--, q->read_idx = (q->read_idx + 1) % NSHMEM_REQS)
      lose(&q->requests[q->read_idx], OUTCOME_LOST);
    for (struct shmem_waiter *w; (w = q->line) != 0; wakeup(w)) {
      leave_line(w);
      w->fate = REFUSED;
    }
  }
  release(&q->lock);
  release(&tree_lock);
}

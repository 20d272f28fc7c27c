// System calls of sharing: the crypto queue's (for clients and for the server) and mapping between relatives.
// Each decodes and checks, then calls ipc/shmem_queue.c and mm/shmem.c.
#include "kernel/crypto.h"
#include "kernel/ipc/server.h"
#include "kernel/ipc/shmem_queue.h"
#include "kernel/lib/lib.h"
#include "kernel/lib/races.h"
#include "kernel/mm/shmem.h"
#include "kernel/mm/user.h"
#include "kernel/proc/lock.h"
#include "kernel/proc/proc.h"
#include "kernel/proc/syscall.h"

// crypto_op(op, size): lines up the request of size bytes at op. 0; -1 for a range the caller could not write, one
// that is not aligned for the header or too short to hold its state word (nowhere to answer), without a server, or if
// killed while the queue is full. A range that holds the state word but not all of the header is the server's to
// refuse, as every other invalid request is.
uint64 sys_crypto_op(void) {
  uint64 op = argument(0), size = argument(1);
  struct proc *p = myproc();
  struct span range;
  if (size < __builtin_offsetof(struct crypto_op, key_size) || op % _Alignof(struct crypto_op) != 0 ||
      user_span(&range, op, size) < 0 || op + size > READ_ONCE(p->sz) || is_server(p) ||
      span_check(range, ACCESS_WRITE) < 0)
    return -1;
  return queue_add(op, size);
}

// crypto_wait(op): sleeps until the server has let go of the caller's request at op, 0 also if there is none. -1 if
// the server died with it, if it could not be mapped, or if the caller is killed.
uint64 sys_crypto_wait(void) {
  return queue_wait(argument(0));
}

// Maps a request just taken into the server; 0, or -1 with the request ended. Its client may have died, run another
// program, or given the memory up since it asked (sbrk): the mapping must be writable in the server too, or answering
// would kill it.
static int map_request(struct proc *server, struct shmem_service *s) {
  const struct shmem_request *r = &s->request;
  struct proc *client = queue_client(s);
  uint64 va = client ? map_shared_pages(client, server, r->src_va, r->size) : -1UL;
  if (client)
    unpin(client);
  // exec cancels before it changes the memory that requests meant, so what says no here was mapped in time.
  int cancelled = client == 0 || queue_cancelled(s);
  if (va != -1UL && !cancelled && is_writable(server, va, r->size)) {
    s->server_va = va;
    return 0;
  }
  if (va != -1UL)
    unmap_shared_pages(server, va, r->size);
  if (cancelled)
    queue_finish(s, OUTCOME_SKIPPED);
  else
    queue_lose(s, OUTCOME_REFUSED);
  return -1;
}

// take_shared_memory_request(va, size): sleeps until there is a request that can be mapped, stores where and how long
// it is. 0; -1 for anyone but the server, a bad address, too many requests in service, or if killed.
uint64 sys_take_shared_memory_request(void) {
  uint64 va_out = argument(0), size_out = argument(1);
  struct proc *p = myproc();
  struct span va_span, size_span;
  if (!is_server(p) || user_span(&va_span, va_out, sizeof(uint64)) < 0 ||
      user_span(&size_span, size_out, sizeof(uint64)) < 0)
    return -1;
  struct shmem_service *s;
  do {
    if (span_check(va_span, ACCESS_WRITE) < 0 || span_check(size_span, ACCESS_WRITE) < 0 || (s = queue_take()) == 0)
      return -1;
  } while (map_request(p, s) < 0);
  // Checked above; the server has no relatives who could have unmapped it since.
  span_write(va_span, 0, &s->server_va, sizeof(uint64));
  span_write(size_span, 0, &s->request.size, sizeof(uint64));
  return 0;
}

// remove_shared_memory_request(va, size): unmaps a request that was taken and ends it. -1 for anyone but the server
// and for what is not in service there.
uint64 sys_remove_shared_memory_request(void) {
  uint64 va = argument(0), size = argument(1);
  struct proc *p = myproc();
  struct shmem_service *s = is_server(p) ? queue_find(va, size) : 0;
  if (s == 0)
    return -1;
  uint64 result = unmap_shared_pages(p, va, size);
  queue_finish(s, OUTCOME_SERVED); // even if the server has unmapped part of it itself: the client must not hang
  return result;
}

// solution {
// The process of that pid if it is an ancestor or a descendant of p, else 0. Tree lock held.
static struct proc *find_relative(struct proc *p, int pid) {
  for (struct proc *older = p->parent; older; older = older->parent)
    if (older->pid == pid)
      return older;
  struct proc *found = find_proc(pid);
  return found && is_ancestor(p, found) ? found : 0;
}

// The caller's relative of that pid, pinned; 0 if there is none. Init is everybody's ancestor and, here, kin to nobody:
// who could map its memory could write its stack, who could map into it could keep frames for ever.
static inline struct proc *pin_relative(int pid) {
  if (pid == INIT_PID)
    return 0;
  acquire(&tree_lock);
  struct proc *other = find_relative(myproc(), pid);
  if (other)
    pin(other);
  release(&tree_lock);
  return other;
}

// map_shared_pages(src_pid, dst_pid, src_va, size): the address in the destination, or -1. The caller is one of the
// two, and the other an ancestor or a descendant of it.
uint64 sys_map_shared_pages(void) {
  int src = argint(0), dst = argint(1), outwards = src == myproc()->pid;
  if (!outwards && dst != myproc()->pid)
    return -1;
  struct proc *other = pin_relative(outwards ? dst : src);
  if (other == 0)
    return -1;
  struct proc *p = myproc();
  uint64 va = map_shared_pages(outwards ? p : other, outwards ? other : p, argument(2), argument(3));
  unpin(other);
  return va;
}

// Unmaps the pages of an ancestor or descendant of the caller.
static seldom uint64 unmap_relative(int pid, uint64 va, uint64 size) {
  struct proc *other = pin_relative(pid);
  if (other == 0)
    return -1;
  uint64 result = unmap_shared_pages(other, va, size);
  unpin(other);
  return result;
}

// unmap_shared_pages(pid, va, size): 0, or -1. The process is the caller, an ancestor or a descendant.
uint64 sys_unmap_shared_pages(void) {
  struct proc *p = myproc();
  int pid = argint(0);
  uint64 va = argument(1), size = argument(2);
  return pid == p->pid ? unmap_shared_pages(p, va, size) : unmap_relative(pid, va, size);
}
// } skeleton {
// uint64 sys_map_shared_pages(void) {
//   return -1; // your work
// }
//
// uint64 sys_unmap_shared_pages(void) {
//   return -1; // your work
// }
// } end

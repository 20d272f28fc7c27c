// crypto_srv: the crypto server, process 2 from boot on. Takes a request out of the kernel's queue, finds it mapped
// into its own memory, XORs its data with its repeated key in place, and gives the mapping back.
// The client still sees and may still write the shared memory while this works: the header is read once, everything is
// decided on that private copy, and whatever key or data change meanwhile only spoils the client's own result.
#include "kernel/crypto.h"
#include "kernel/trace_events.h"
#include "kernel/types.h"
#include "user/user.h"

// solution {
#define GROUP 32              // bytes XORed in one turn of the inner loop
#define LONGEST_EXPANDED 1024 // bytes of a key that is expanded into the pattern
#define PATTERN_ENOUGH 1024   // bytes of pattern from which turns of the outer loop no longer count
#define WORTH_EXPANDING 256   // bytes of data from which the pattern pays
#define PATTERN_MAX (GROUP * LONGEST_EXPANDED)

static uint64 pattern[PATTERN_MAX / sizeof(uint64)]; // the key repeated; private, so the key is read once

// XORs n bytes of data with the repeated key, beginning with the key's byte phase.
static void xor_bytes(uchar *data, uint64 n, const uchar *key, uint64 key_size, uint64 phase) {
  const uchar *end = key + key_size, *k = key + phase;
  for (uchar *stop = data + n; data < stop; data++) {
    *data ^= *k++;
    if (k == end)
      k = key;
  }
}

// Fills the pattern with whole keys, turned so that it begins with the key's byte phase, up to a multiple of GROUP and
// at least PATTERN_ENOUGH bytes; -> that size.
static uint64 expand(const uchar *key, uint64 key_size, uint64 phase) {
  uint64 size = key_size;
  while (size % GROUP != 0) // at most log2(GROUP) times
    size *= 2;
  while (size < PATTERN_ENOUGH)
    size *= 2;
  uchar *p = (uchar *)pattern;
  memcpy(p, key + phase, key_size - phase);
  memcpy(p + key_size - phase, key, phase);
  for (uint64 done = key_size; done < size; done *= 2)
    memcpy(p + done, p, done < size - done ? done : size - done);
  return size;
}

// XORs whole groups at the aligned data with a pattern of size bytes, a multiple of GROUP. -> bytes done.
static uint64 xor_groups(uint64 *data, uint64 n, uint64 size) {
  uint64 *const start = data, *const stop = data + n / GROUP * (GROUP / sizeof(uint64));
  const uint64 *const pattern_end = pattern + size / sizeof(uint64);
  for (const uint64 *k = pattern; data < stop; data += 4) {
    data[0] ^= k[0];
    data[1] ^= k[1];
    data[2] ^= k[2];
    data[3] ^= k[3];
    k += 4;
    if (k == pattern_end)
      k = pattern;
  }
  return (data - start) * sizeof(uint64);
}

static void xor_key(uchar *data, uint64 n, const uchar *key, uint64 key_size) {
  uint64 done = 0;
  if (n >= WORTH_EXPANDING && key_size <= LONGEST_EXPANDED) {
    done = -(uint64)data % sizeof(uint64); // bytes before the first whole word
    xor_bytes(data, done, key, key_size, 0);
    uint64 size = expand(key, key_size, done % key_size);
    done += xor_groups((uint64 *)(data + done), n - done, size);
  }
  xor_bytes(data + done, n - done, key, key_size, done % key_size);
}

// Does what the header h, a private copy, asks of the size bytes mapped at op; -> the state to answer.
static enum crypto_op_state serve(struct crypto_op *op, const struct crypto_op *h, uint64 size) {
  uint64 room = size - sizeof(*op); // header size, checked by the caller
  if ((h->type != CRYPTO_OP_TYPE_ENCRYPT && h->type != CRYPTO_OP_TYPE_DECRYPT) || h->state != CRYPTO_OP_STATE_INIT ||
      h->key_size == 0 || h->key_size > room || h->data_size > room - h->key_size)
    return CRYPTO_OP_STATE_ERROR;
  trace_mark(TRACE_STATE, (uint64)op, h->state, h->type, h->key_size, h->data_size);
  xor_key(op->payload + h->key_size, h->data_size, op->payload, h->key_size);
  return CRYPTO_OP_STATE_DONE;
}

// Serves the request mapped at op. The kernel lets in nothing that is too short for a state word or not aligned.
static void answer(struct crypto_op *op, uint64 size) {
  volatile struct crypto_op *shared = op;
  struct crypto_op h = {0};
  enum crypto_op_state state = CRYPTO_OP_STATE_ERROR;
  if (size >= sizeof(h)) {
    h.type = shared->type;
    h.state = shared->state;
    h.key_size = shared->key_size;
    h.data_size = shared->data_size;
    state = serve(op, &h, size);
  }
  trace_mark(TRACE_STATE, (uint64)op, state, h.type, h.key_size, h.data_size);
  asm volatile("fence rw, rw" ::: "memory"); // the data before the word that says they are ready
  shared->state = state;
}

int main(void) {
  if (getpid() != CRYPTO_SRV_PID) {
    fprintf(2, "crypto_srv: the kernel runs the server, as process %d; nothing to do here\n", CRYPTO_SRV_PID);
    return 1;
  }
  for (;;) {
    void *op;
    uint64 size;
    if (take_shared_memory_request(&op, &size) < 0)
      return 1; // the kernel starts a new one
    answer(op, size);
    if (remove_shared_memory_request(op, size) < 0)
      return 1;
  }
}
// } skeleton {
// int main(void) {
//   if (getpid() != CRYPTO_SRV_PID)
//     return 1;
//   for (;;)
//     sleep(100); // your work
// }
// } end

// crypto_cli [encrypt|decrypt KEY]: lets the crypto server encrypt or decrypt standard input to standard output;
// without arguments, a demonstration: decrypts a message it holds. Exit status: 0 done, 1 refused or failed, 2 wrong
// usage. Data go through shared memory in requests of up to CHUNK bytes, each a whole number of keys, so that the key
// runs on from one request to the next.
#include "kernel/crypto.h"
#include "kernel/trace_events.h"
#include "kernel/types.h"
#include "user/user.h"

#define CHUNK (64 * 1024)

// "Meet me at ..." XORed with the key below.
static const uchar hidden[] = {0x02, 0x36, 0x57, 0x44, 0x12, 0x59, 0x2a, 0x73, 0x53, 0x44, 0x12, 0x40, 0x27, 0x36,
                               0x12, 0x43, 0x5a, 0x55, 0x3d, 0x36, 0x56, 0x10, 0x42, 0x55, 0x28, 0x36, 0x08, 0x10,
                               0x46, 0x43, 0x20, 0x73, 0x42, 0x42, 0x5d, 0x57, 0x2a, 0x20, 0x41, 0x55, 0x41, 0x18,
                               0x6f, 0x3c, 0x5c, 0x55, 0x12, 0x52, 0x3d, 0x32, 0x5f, 0x55, 0x1c};
static const char hidden_key[] = "OS2024";

static int fail(const char *why) {
  fprintf(2, "crypto_cli: %s\n", why);
  return -1;
}

// A request with the key in place and room for data; 0 without memory.
static struct crypto_op *new_request(enum crypto_op_type type, const char *key, uint64 room) {
  uint64 key_size = strlen(key);
  struct crypto_op *op = malloc(sizeof(*op) + key_size + room);
  if (op == 0) {
    fail("out of memory");
    return 0;
  }
  op->type = type;
  op->key_size = key_size;
  memcpy(op->payload, key, key_size);
  return op;
}

static uchar *data_of(struct crypto_op *op) {
  return op->payload + op->key_size;
}

// Has the server work on n bytes of data. 0, or -1 with a message.
static int serve(struct crypto_op *op, uint64 n) {
  op->data_size = n;
  op->state = CRYPTO_OP_STATE_INIT;
  trace_mark(TRACE_STATE, (uint64)op, op->state, op->type, op->key_size, n);
  if (crypto_op(op, sizeof(*op) + op->key_size + n) < 0)
    return fail("the kernel does not take the request (no crypto server?)");
  if (crypto_wait(op) < 0)
    return fail("the crypto server died with the request");
  if (*(volatile enum crypto_op_state *)&op->state != CRYPTO_OP_STATE_DONE)
    return fail("the crypto server refuses the request");
  return 0;
}

// Reads until n bytes are there or the input ends; -> how many, or -1 with a message.
static long read_whole(uchar *to, long n) {
  long done = 0;
  for (int got = 1; done < n && got > 0; done += got)
    if ((got = read(0, to + done, n - done)) < 0)
      return fail("cannot read the input");
  return done;
}

static int stream(enum crypto_op_type type, const char *key) {
  long key_size = strlen(key);
  if (key_size == 0)
    return fail("the key is empty");
  long chunk = key_size < CHUNK ? CHUNK / key_size * key_size : key_size;
  struct crypto_op *op = new_request(type, key, chunk);
  if (op == 0)
    return -1;
  for (;;) {
    long n = read_whole(data_of(op), chunk);
    if (n <= 0)
      return n;
    if (serve(op, n) < 0)
      return -1;
    if (write(1, data_of(op), n) != n)
      return fail("cannot write the output");
  }
}

static int demonstrate(void) {
  struct crypto_op *op = new_request(CRYPTO_OP_TYPE_DECRYPT, hidden_key, sizeof(hidden) + 1);
  if (op == 0)
    return -1;
  memcpy(data_of(op), hidden, sizeof(hidden));
  if (serve(op, sizeof(hidden)) < 0)
    return -1;
  data_of(op)[sizeof(hidden)] = '\0';
  printf("crypto_cli: decrypted with key %s: %s\n", hidden_key, (char *)data_of(op));
  return 0;
}

int main(int argc, char **argv) {
  int result;
  if (argc == 1) {
    result = demonstrate();
  } else if (argc == 3 && strcmp(argv[1], "encrypt") == 0) {
    result = stream(CRYPTO_OP_TYPE_ENCRYPT, argv[2]);
  } else if (argc == 3 && strcmp(argv[1], "decrypt") == 0) {
    result = stream(CRYPTO_OP_TYPE_DECRYPT, argv[2]);
  } else {
    fprintf(2, "usage: crypto_cli [encrypt|decrypt KEY] < in > out\n");
    return 2;
  }
  return result < 0 ? 1 : 0;
}

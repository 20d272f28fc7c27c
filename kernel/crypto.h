// The request a client shares with the crypto server: a header, the key, the data.
// The layout is the assignment's; both sides see the same frames.
#pragma once
#include "kernel/types.h"

#define CRYPTO_SRV_PID 2 // the server, from boot on

enum crypto_op_type {
  CRYPTO_OP_TYPE_ENCRYPT = 1,
  CRYPTO_OP_TYPE_DECRYPT = 2,
};

enum crypto_op_state {
  CRYPTO_OP_STATE_INIT = 1,
  CRYPTO_OP_STATE_DONE = 2,
  CRYPTO_OP_STATE_ERROR = 3,
};

struct crypto_op {
  enum crypto_op_type type;
  enum crypto_op_state state;
  uint64 key_size;  // bytes of key at payload[0]
  uint64 data_size; // bytes of data at payload[key_size]
  uchar payload[];
};

// Stands in for /crypto_srv in guests that ask how the kernel hands requests over: it takes as many as the host has
// allowed, writes down what it was given, and gives each back. It reads none of them, so a wrong address doesn't end
// it.
typedef unsigned long word;
typedef long number;

struct taken {
  number result; // of take_shared_memory_request
  word va, size; // what it stored
  number given_back;
};

volatile word allowed; // how many it may take: the host's
volatile word count;   // how many it has taken
struct taken log[32];

static number call(number n, word a, word b) {
  register word a0 asm("a0") = a, a1 asm("a1") = b, a7 asm("a7") = n;
  asm volatile("ecall" : "+r"(a0) : "r"(a1), "r"(a7) : "memory");
  return a0;
}

void start(void) {
  if (call(NUMBER_getpid, 0, 0) != 2)
    call(NUMBER_exit, 1, 0);
  for (;;) {
    while (count >= allowed)
      call(NUMBER_sleep, 1, 0);
    struct taken *now = &log[count % 32];
    now->result = call(NUMBER_take_shared_memory_request, (word)&now->va, (word)&now->size);
    if (now->result == 0 && now->va + 1 > 1)
      now->given_back = call(NUMBER_remove_shared_memory_request, now->va, now->size);
    count++;
  }
}

// A QEMU plugin that counts the instructions a guest executes between its marks (user/bench.c) and, if asked, where.
// Relies on one hart and on QEMU's plugin interface, version 1 (QEMU docs/devel/tcg-plugins), declared below because
// Debian ships no header for it.
//
//   -plugin counter.so,out=FILE[,profile=ID][,harts=1]
//
// FILE gets a line "ID COUNT" for each pair of marks, and for the marks of profile=ID "at ADDRESS COUNT" lines. With
// harts=1 the guest may have several harts; the line then is "ID COUNT BUSIEST": of all, and of the one that ran most.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
typedef struct qemu_info_t qemu_info_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum { CB_NO_REGS = 0, INLINE_ADD_U64 = 0 };
typedef void (*vcpu_callback)(unsigned int vcpu, void *data);

size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t i);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn, vcpu_callback callback, int flags,
                                            void *data);
void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *insn, int op, void *counter, uint64_t add);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb, vcpu_callback callback, int flags, void *data);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id,
                                           void (*callback)(qemu_plugin_id_t id, struct qemu_plugin_tb *tb));
int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv);

int qemu_plugin_version = 1;

#define PLACES (1 << 18) // hash slots for addresses

struct place {
  uint64_t address;
  uint64_t count;
};

static uint64_t executed; // instructions since power-on
static uint64_t started;  // executed, at the last start mark
static FILE *out;
static long profiled = -1;
static struct place *places; // only with profile=

#define HARTS 8
struct hart {
  uint64_t executed;
  uint64_t started;
  uint64_t padding[6]; // each hart's thread writes to a cache line of its own
};
static struct hart *harts; // only with harts=

static struct place *place_of(uint64_t address) {
  size_t i = (address >> 1) * 0x9e3779b97f4a7c15UL >> 46;
  while (places[i].address && places[i].address != address)
    i = (i + 1) % PLACES;
  places[i].address = address;
  return &places[i];
}

static void start(unsigned int vcpu, void *data) {
  (void)vcpu;
  if (places && (long)(intptr_t)data == profiled)
    for (size_t i = 0; i < PLACES; i++)
      places[i].count = 0;
  started = executed;
  for (int i = 0; harts && i < HARTS; i++)
    harts[i].started = harts[i].executed;
}

static void block_runs(unsigned int vcpu, void *data) {
  harts[vcpu % HARTS].executed += (uintptr_t)data;
}

static void print_harts(long id) {
  uint64_t all = 0, most = 0;
  for (int i = 0; i < HARTS; i++) {
    uint64_t n = harts[i].executed - harts[i].started;
    all += n;
    most = n > most ? n : most;
  }
  fprintf(out, "%ld %lu %lu\n", id, all, most);
  fflush(out);
}

static void stop(unsigned int vcpu, void *data) {
  (void)vcpu;
  long id = (long)(intptr_t)data;
  if (harts) {
    print_harts(id);
    return;
  }
  fprintf(out, "%ld %lu\n", id, executed - started - 1); // this mark itself is counted already
  if (places && id == profiled)
    for (size_t i = 0; i < PLACES; i++)
      if (places[i].count)
        fprintf(out, "at %lx %lu\n", places[i].address, places[i].count);
  fflush(out);
}

// slti x0, x0, id starts, sltiu x0, x0, id stops: opcode OP-IMM, rd and rs1 x0, funct3 2 or 3.
static void look_for_mark(struct qemu_plugin_insn *insn) {
  uint32_t word;
  if (qemu_plugin_insn_size(insn) != sizeof(word))
    return;
  memcpy(&word, qemu_plugin_insn_data(insn), sizeof(word));
  uint32_t form = word & 0xfffff;
  intptr_t id = word >> 20;
  if (form == 0x2013 || form == 0x3013)
    qemu_plugin_register_vcpu_insn_exec_cb(insn, form == 0x2013 ? start : stop, CB_NO_REGS, (void *)id);
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb) {
  (void)id;
  if (harts) {
    qemu_plugin_register_vcpu_tb_exec_cb(tb, block_runs, CB_NO_REGS, (void *)qemu_plugin_tb_n_insns(tb));
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++)
      look_for_mark(qemu_plugin_tb_get_insn(tb, i));
    return;
  }
  for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
    struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
    qemu_plugin_register_vcpu_insn_exec_inline(insn, INLINE_ADD_U64, &executed, 1);
    if (places)
      qemu_plugin_register_vcpu_insn_exec_inline(insn, INLINE_ADD_U64, &place_of(qemu_plugin_insn_vaddr(insn))->count,
                                                 1);
    look_for_mark(insn);
  }
}

int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv) {
  (void)info;
  for (int i = 0; i < argc; i++) {
    if (strncmp(argv[i], "out=", 4) == 0)
      out = fopen(argv[i] + 4, "w");
    else if (strncmp(argv[i], "profile=", 8) == 0)
      profiled = atol(argv[i] + 8);
    else if (strcmp(argv[i], "harts=1") == 0)
      harts = calloc(HARTS, sizeof(*harts));
  }
  if (profiled >= 0)
    places = calloc(PLACES, sizeof(*places));
  if (!out || (profiled >= 0 && !places)) {
    fprintf(stderr, "counter: needs out=FILE that can be written\n");
    return -1;
  }
  qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
  return 0;
}

// Reads the flattened device tree that QEMU leaves in RAM: memory, harts, timer frequency, boot arguments.
// Follows the Devicetree Specification 0.4, chapter 5; trusts nothing beyond the blob's stated size.
#include "kernel/boot/boot.h"
#include "kernel/lib/lib.h"

#define FDT_MAGIC 0xd00dfeed
enum { FDT_BEGIN_NODE = 1, FDT_END_NODE = 2, FDT_PROP = 3, FDT_NOP = 4, FDT_END = 9 };
enum { DEPTH_CPU = 3 }; // root node is 1, /cpus 2, its harts 3

// A device tree's cells are big-endian.
static uint32 cell(const uint8 *p) {
  return (uint32)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3];
}

static uint64 two_cells(const uint8 *p) {
  return (uint64)cell(p) << 32 | cell(p + 4);
}

static int starts_with(const char *s, const char *prefix) {
  return strncmp(s, prefix, strlen(prefix)) == 0;
}

// Notes what property `name` says of the node `node`, if it is one of those we want.
static void take_property(struct machine *m, const char *node, const char *name, const uint8 *value, uint32 size) {
  if (starts_with(node, "memory@") && starts_with(name, "reg") && size >= 16) {
    m->memory_start = two_cells(value);
    m->memory_end = m->memory_start + two_cells(value + 8);
  } else if (starts_with(name, "timebase-frequency") && size >= 4) {
    m->timer_frequency = cell(value);
  } else if (starts_with(node, "chosen") && starts_with(name, "bootargs")) {
    m->bootargs = (const char *)value; // the specification has it end in a zero
  }
}

int fdt_read(const void *blob, struct machine *m) {
  const uint8 *base = blob;
  if (cell(base) != FDT_MAGIC)
    return -1;
  const uint8 *p = base + cell(base + 8), *stop = base + cell(base + 4);
  const char *strings = (const char *)base + cell(base + 12);
  const char *node = "";
  int depth = 0;

  while (p + 4 <= stop) {
    uint32 token = cell(p);
    p += 4;
    if (token == FDT_BEGIN_NODE) {
      node = (const char *)p;
      if (++depth == DEPTH_CPU && starts_with(node, "cpu@"))
        m->harts++;
      p += (strlen(node) + 1 + 3) & ~3;
    } else if (token == FDT_END_NODE) {
      depth--;
    } else if (token == FDT_PROP) {
      uint32 size = cell(p);
      take_property(m, node, strings + cell(p + 4), p + 8, size);
      p += 8 + ((size + 3) & ~3u);
    } else if (token == FDT_END) {
      return 0;
    } else if (token != FDT_NOP) {
      return -1;
    }
  }
  return -1;
}

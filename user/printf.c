// printf() and fprintf(): a call's output is gathered on the stack and written by one write(), so that lines of
// several processes do not mix and a character costs no system call. Output longer than the buffer takes more writes.
#include "kernel/types.h"
#include "user/user.h"
#include <stdarg.h>

#define BUFFER 256 // a small part of the one page of stack

struct out {
  int fd;
  int used;
  char text[BUFFER];
};

// %[-][0][width][l|ll]conversion
struct spec {
  int left;  // pad on the right
  char fill; // ' ' or '0'
  int width;
  int wide; // the argument has 64 bits
  char conversion;
};

static void flush(struct out *o) {
  if (o->used > 0)
    write(o->fd, o->text, o->used);
  o->used = 0;
}

static void emit(struct out *o, char c) {
  if (o->used == BUFFER)
    flush(o);
  o->text[o->used++] = c;
}

// prefix, then n bytes of s, padded to the width of spec; zeros go between the two.
static void emit_field(struct out *o, const struct spec *spec, const char *prefix, const char *s, int n) {
  int pad = spec->width - n - (int)strlen(prefix);
  int zeros = spec->fill == '0' && !spec->left;

  for (; !spec->left && !zeros && pad > 0; pad--)
    emit(o, ' ');
  while (*prefix)
    emit(o, *prefix++);
  for (; zeros && pad > 0; pad--)
    emit(o, '0');
  while (n-- > 0)
    emit(o, *s++);
  while (pad-- > 0)
    emit(o, ' ');
}

static void emit_number(struct out *o, const struct spec *spec, const char *prefix, uint64 value, uint base) {
  char digits[20], *first = digits + sizeof(digits); // 2^64 - 1 has 20 digits

  do
    *--first = "0123456789abcdef"[value % base];
  while ((value /= base) != 0);
  emit_field(o, spec, prefix, first, digits + sizeof(digits) - first);
}

static void emit_pointer(struct out *o, uint64 value) {
  struct spec spec = {.fill = '0', .width = 2 + 16};
  emit_number(o, &spec, "0x", value, 16);
}

static void emit_string(struct out *o, const struct spec *spec, const char *s) {
  struct spec blank = *spec;

  blank.fill = ' ';
  s = s ? s : "(null)";
  emit_field(o, &blank, "", s, strlen(s));
}

static int is_integer(char c) {
  return c == 'd' || c == 'u' || c == 'x';
}

// Reads what follows '%' at f; returns where the text goes on. l alone is xv6 2022's unsigned 64-bit decimal.
static const char *parse(const char *f, struct spec *spec) {
  *spec = (struct spec){.fill = ' '};
  for (; *f == '-' || *f == '0'; f++)
    if (*f == '-')
      spec->left = 1;
    else
      spec->fill = '0';
  for (; *f >= '0' && *f <= '9' && spec->width < BUFFER; f++)
    spec->width = 10 * spec->width + *f - '0';

  int ells = *f != 'l' ? 0 : is_integer(f[1]) ? 1 : f[1] == 'l' && is_integer(f[2]) ? 2 : 0;
  spec->wide = *f == 'l';
  spec->conversion = spec->wide && ells == 0 ? 'u' : f[ells];
  return f + ells + (spec->conversion != 0);
}

static void print(int fd, const char *format, va_list args) {
  struct out o = {.fd = fd};
  struct spec spec;

  for (const char *f = format; *f;) {
    const char *start = f;
    if (*f++ != '%') {
      emit(&o, *start);
      continue;
    }
    f = parse(f, &spec);
    if (spec.conversion == 'd') {
      long value = spec.wide ? va_arg(args, long) : va_arg(args, int);
      emit_number(&o, &spec, value < 0 ? "-" : "", value < 0 ? -(uint64)value : (uint64)value, 10);
    } else if (spec.conversion == 'u' || spec.conversion == 'x') {
      uint64 value = spec.wide ? va_arg(args, uint64) : va_arg(args, uint);
      emit_number(&o, &spec, "", value, spec.conversion == 'x' ? 16 : 10);
    } else if (spec.conversion == 'p') {
      emit_pointer(&o, va_arg(args, uint64));
    } else if (spec.conversion == 's') {
      emit_string(&o, &spec, va_arg(args, const char *));
    } else if (spec.conversion == 'c') {
      emit(&o, va_arg(args, int));
    } else if (spec.conversion == '%') {
      emit(&o, '%');
    } else { // not a conversion: the text itself
      while (start < f)
        emit(&o, *start++);
    }
  }
  flush(&o);
}

// Conversions: %d %u %x with l or ll for 64 bits, %l (an unsigned 64-bit decimal), %p, %s, %c, %%; a width, and before
// it - (pad on the right) or 0 (with zeros). Anything else after % is printed as it stands.
void fprintf(int fd, const char *format, ...) {
  va_list args;

  va_start(args, format);
  print(fd, format, args);
  va_end(args);
}

void printf(const char *format, ...) {
  va_list args;

  va_start(args, format);
  print(1, format, args);
  va_end(args);
}

// Turns a format and its arguments into text, for printf() and panic(). Pure: no device, no lock, runs on the host.
#include "kernel/lib/lib.h"

// Where the text goes: it is cut, never overrun.
struct text {
  char *buf;
  int size;   // bytes in buf
  int length; // of these, used
};

static void put(struct text *t, char c) {
  if (t->length < t->size)
    t->buf[t->length++] = c;
}

static void put_number(struct text *t, uint64 value, uint base) {
  char digits[20]; // of 2^64 in base 10
  int n = 0;
  do {
    digits[n++] = "0123456789abcdef"[value % base];
    value /= base;
  } while (value != 0);
  while (n > 0)
    put(t, digits[--n]);
}

static void put_signed(struct text *t, long value) {
  if (value < 0)
    put(t, '-');
  put_number(t, value < 0 ? -(uint64)value : (uint64)value, 10);
}

// One conversion whose letters start at f; -> the last of them.
static const char *convert(struct text *t, const char *f, va_list *args) {
  int wide = 0;
  for (; *f == 'l'; f++)
    wide = 1;
  switch (*f) {
  case 'd':
    put_signed(t, wide ? va_arg(*args, long) : va_arg(*args, int));
    break;
  case 'u':
    put_number(t, wide ? va_arg(*args, uint64) : va_arg(*args, uint), 10);
    break;
  case 'x':
    put_number(t, wide ? va_arg(*args, uint64) : va_arg(*args, uint), 16);
    break;
  case 'p':
    put(t, '0');
    put(t, 'x');
    put_number(t, (uint64)va_arg(*args, void *), 16);
    break;
  case 'c':
    put(t, va_arg(*args, int));
    break;
  case 's': {
    const char *s = va_arg(*args, const char *);
    for (s = s ? s : "(null)"; *s != '\0'; s++)
      put(t, *s);
    break;
  }
  case '\0': // a lone % at the end
    put(t, '%');
    return f - 1;
  default: // %% and, shown as it stands, what we don't know
    if (*f != '%')
      put(t, '%');
    put(t, *f);
  }
  return f;
}

int vformat(char *buf, int size, const char *format, va_list args) {
  struct text t = {buf, size, 0};
  va_list rest;
  va_copy(rest, args);
  for (const char *f = format; *f != '\0'; f++)
    if (*f == '%')
      f = convert(&t, f + 1, &rest);
    else
      put(&t, *f);
  va_end(rest);
  return t.length;
}

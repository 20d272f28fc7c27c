// The system calls on files. Each checks its arguments and reserves descriptors first, then acts.
#include "kernel/fcntl.h"
#include "kernel/fs/fs_kernel.h"
#include "kernel/fs/inode.h"
#include "kernel/fs/log.h"
#include "kernel/ipc/pipe.h"
#include "kernel/memlayout.h"
#include "kernel/proc/proc.h"
#include "kernel/proc/syscall.h"

#define FAILED ((uint64)-1)
#define MAX_LINKS 32767 // what nlink holds

// The open file that argument n names; 0 if none.
static struct file *argfile(int n) {
  uint fd = argint(n);
  return fd < NOFILE ? myproc()->ofile[fd] : 0;
}

// The lowest free descriptor from `first` on; -1 if there is none.
static int free_descriptor(int first) {
  for (int fd = first; fd < NOFILE; fd++)
    if (!myproc()->ofile[fd])
      return fd;
  return -1;
}

// The span of arguments 1 (address) and 2 (size): 0, or -1.
static int argspan(struct span *s) {
  int size = argint(2);
  return size < 0 ? -1 : user_span(s, argument(1), size);
}

uint64 sys_read(void) {
  struct file *f = argfile(0);
  struct span dst;
  uint64 va = argument(1);
  int size = argint(2);
  if (!f || size < 0 || va > USERTOP || (va == USERTOP && size > 0))
    return FAILED;
  // a program may offer more than it has, if what there is to read fits
  if ((uint64)size > USERTOP - va)
    size = USERTOP - va;
  return user_span(&dst, va, size) < 0 ? FAILED : (uint64)fileread(f, dst);
}

uint64 sys_write(void) {
  struct file *f = argfile(0);
  struct span src;
  return !f || argspan(&src) < 0 ? FAILED : (uint64)filewrite(f, src);
}

uint64 sys_close(void) {
  struct file *f = argfile(0);
  if (!f)
    return FAILED;
  myproc()->ofile[argint(0)] = 0;
  fileclose(f);
  return 0;
}

uint64 sys_fstat(void) {
  struct file *f = argfile(0);
  struct stat st;
  return !f || filestat(f, &st) < 0 ? FAILED : (uint64)copyout(argument(1), &st, sizeof st);
}

uint64 sys_dup(void) {
  struct file *f = argfile(0);
  int fd = free_descriptor(0);
  if (!f || fd < 0)
    return FAILED;
  myproc()->ofile[fd] = filedup(f);
  return fd;
}

uint64 sys_pipe(void) {
  int fd[2];
  struct file *end[2];
  struct span result;
  fd[0] = free_descriptor(0);
  fd[1] = fd[0] < 0 ? -1 : free_descriptor(fd[0] + 1);
  if (fd[1] < 0 || user_span(&result, argument(0), sizeof fd) < 0 || span_check(result, ACCESS_WRITE) < 0)
    return FAILED;
  if (pipealloc(&end[0], &end[1]) < 0)
    return FAILED;
  if (span_write(result, 0, fd, sizeof fd) < 0) { // unmapped by another since
    fileclose(end[0]);
    fileclose(end[1]);
    return FAILED;
  }
  myproc()->ofile[fd[0]] = end[0];
  myproc()->ofile[fd[1]] = end[1];
  return 0;
}

// Puts the first two entries into a new directory: 0, or -1 without space.
static int fill_directory(struct inode *ip, uint parent) {
  struct dirent entries[2] = {{.inum = ip->inum, .name = "."}, {.inum = parent, .name = ".."}};
  return writei(ip, kernel_span(entries, sizeof entries), 0) == sizeof entries ? 0 : -1;
}

// Makes an inode and enters it into dp, which is locked, under key. It has no name until nothing can fail any more, so
// that dropping it is all there is to undo. The new inode, locked, or 0.
static struct inode *make_inode(struct inode *dp, struct dirent *key, uint offset, short type) {
  if (dp->nlink == 0 || (type == T_DIR && dp->nlink == MAX_LINKS))
    return 0;
  struct inode *ip = ialloc(dp->dev, type);
  if (!ip)
    return 0;
  ilock(ip);
  key->inum = ip->inum;
  if ((type == T_DIR && fill_directory(ip, dp->inum) < 0) || dir_set(dp, offset, key) < 0) {
    iunlockput(ip);
    return 0;
  }
  ip->nlink = 1;
  iupdate(ip);
  if (type == T_DIR) {
    dp->nlink++; // the new ..
    iupdate(dp);
  }
  return ip;
}

// The inode a path names, made if there is none; locked, or 0. `existing`: one of a file or device may be there
// already.
static struct inode *create(const char *path, short type, int existing) {
  struct dirent key;
  uint offset;
  struct inode *dp = nameiparent(path, &key);
  if (!dp)
    return 0;
  ilock(dp);
  struct inode *ip = dirlookup(dp, &key, &offset);
  if (!ip) {
    ip = make_inode(dp, &key, offset, type);
    iunlockput(dp);
    return ip;
  }
  iunlockput(dp);
  ilock(ip);
  if (existing && (ip->type == T_FILE || ip->type == T_DEVICE))
    return ip;
  iunlockput(ip);
  return 0;
}

// May this inode, locked, be opened so?
static int may_open(const struct inode *ip, int flags) {
  if (ip->type == T_DIR)
    return flags == O_RDONLY;
  if (ip->type == T_DEVICE)
    return ip->major >= 0 && ip->major < NDEV;
  return ip->type == T_FILE;
}

// Empties a file, locked and within an operation: 0, with both again so, or -1, with only the lock.
static int truncate(struct inode *ip) {
  int result = 0;
  while (result == 0 && !itrunc(ip)) {
    iunlock(ip);
    end_op();
    result = begin_op();
    ilock(ip);
  }
  return result;
}

// The inode to open, locked; 0 if there is none. An operation is under way if flags ask for changes.
static struct inode *open_inode(const char *path, int flags) {
  struct inode *ip;
  if (flags & O_CREATE)
    return create(path, T_FILE, 1);
  if ((ip = namei(path)))
    ilock(ip);
  return ip;
}

uint64 sys_open(void) {
  char path[MAXPATH];
  int flags = argint(1);
  int changes = flags & (O_CREATE | O_TRUNC);
  int fd = free_descriptor(0);
  if (fd < 0 || argstr(0, path, MAXPATH) < 0)
    return FAILED;
  struct file *f = filealloc();
  if (!f)
    return FAILED;
  if (changes && begin_op() < 0) {
    fileclose(f);
    return FAILED;
  }
  struct inode *ip = open_inode(path, flags);
  int opened = ip && may_open(ip, flags);
  if (opened && (flags & O_TRUNC) && ip->type == T_FILE && truncate(ip) < 0)
    opened = changes = 0;
  if (opened) {
    f->ip = ip;
    f->type = ip->type == T_DEVICE ? FD_DEVICE : FD_INODE;
    f->major = ip->major;
    f->readable = !(flags & O_WRONLY);
    f->writable = !!(flags & (O_WRONLY | O_RDWR));
    iunlock(ip);
    myproc()->ofile[fd] = f;
  } else if (ip) {
    iunlockput(ip);
  }
  if (changes)
    end_op();
  if (!opened)
    fileclose(f);
  return opened ? (uint64)fd : FAILED;
}

uint64 sys_mkdir(void) {
  char path[MAXPATH];
  if (argstr(0, path, MAXPATH) < 0 || begin_op() < 0)
    return FAILED;
  struct inode *ip = create(path, T_DIR, 0);
  if (ip)
    iunlockput(ip);
  end_op();
  return ip ? 0 : FAILED;
}

uint64 sys_mknod(void) {
  char path[MAXPATH];
  if (argstr(0, path, MAXPATH) < 0 || begin_op() < 0)
    return FAILED;
  struct inode *ip = create(path, T_DEVICE, 0);
  if (ip) {
    ip->major = argint(1);
    ip->minor = argint(2);
    iupdate(ip);
    iunlockput(ip);
  }
  end_op();
  return ip ? 0 : FAILED;
}

// Enters ip, which is no directory, into the directory of a new path: 0, or -1.
static int add_link(struct inode *ip, const char *path) {
  struct dirent key;
  uint offset;
  int result = -1;
  struct inode *dp = nameiparent(path, &key);
  if (!dp)
    return -1;
  ilock(dp);
  struct inode *existing = dirlookup(dp, &key, &offset);
  if (existing) {
    iput(existing);
  } else if (dp->nlink > 0) {
    ilock(ip);
    key.inum = ip->inum;
    if (ip->nlink > 0 && ip->nlink < MAX_LINKS && dir_set(dp, offset, &key) == 0) {
      ip->nlink++;
      iupdate(ip);
      result = 0;
    }
    iunlock(ip);
  }
  iunlockput(dp);
  return result;
}

uint64 sys_link(void) {
  char path[MAXPATH], new_path[MAXPATH];
  int result = -1;
  if (argstr(0, path, MAXPATH) < 0 || argstr(1, new_path, MAXPATH) < 0 || begin_op() < 0)
    return FAILED;
  struct inode *ip = namei(path);
  if (ip) {
    ilock(ip);
    int linkable = ip->type == T_FILE || ip->type == T_DEVICE;
    iunlock(ip);
    if (linkable)
      result = add_link(ip, new_path);
    iput(ip);
  }
  end_op();
  return result;
}

static int is_dot_or_dotdot(const struct dirent *key) {
  return key->name[0] == '.' && (!key->name[1] || (key->name[1] == '.' && !key->name[2]));
}

// Takes the entry of ip at `offset` out of dp; both are locked: 0, or -1 if ip is a directory with something in it.
static int remove_entry(struct inode *dp, uint offset, struct inode *ip) {
  static const struct dirent none;
  if (ip->nlink < 1 || (ip->type == T_DIR && !dir_is_empty(ip)))
    return -1;
  if (dir_set(dp, offset, &none) < 0)
    return -1;
  ip->nlink--;
  iupdate(ip);
  if (ip->type == T_DIR) {
    dp->nlink--; // its .. is gone
    iupdate(dp);
  }
  return 0;
}

uint64 sys_unlink(void) {
  char path[MAXPATH];
  struct dirent key;
  uint offset;
  int result = -1;
  if (argstr(0, path, MAXPATH) < 0 || begin_op() < 0)
    return FAILED;
  struct inode *dp = nameiparent(path, &key);
  if (dp) {
    ilock(dp);
    struct inode *ip = is_dot_or_dotdot(&key) ? 0 : dirlookup(dp, &key, &offset);
    if (ip && ip != dp) {
      ilock(ip);
      result = remove_entry(dp, offset, ip);
      iunlock(ip);
    }
    iunlockput(dp);
    if (ip)
      iput_now(ip);
  }
  end_op();
  return result;
}

uint64 sys_chdir(void) {
  char path[MAXPATH];
  struct inode *ip = argstr(0, path, MAXPATH) < 0 ? 0 : namei(path);
  if (!ip)
    return FAILED;
  ilock(ip);
  int is_directory = ip->type == T_DIR;
  iunlock(ip);
  struct inode *drop = ip;
  if (is_directory) {
    drop = myproc()->cwd;
    myproc()->cwd = ip;
  }
  iput_op(drop);
  return is_directory ? 0 : FAILED;
}

uint64 sys_sync(void) {
  return log_sync();
}

uint64 sys_fsync(void) {
  struct file *f = argfile(0);
  return f && f->type == FD_INODE ? (uint64)log_sync() : FAILED;
}

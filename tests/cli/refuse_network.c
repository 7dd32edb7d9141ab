/* Preloaded: writes each attempt to reach the network into a file, and refuses it. This machine's own addresses are let through. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void note(const char *call, const char *where) {
    char line[512];
    const char *path = getenv("NETWORK_ATTEMPTS");
    int length = snprintf(line, sizeof line, "%d %s %s\n", getpid(), call, where ? where : "?");
    int file = path ? open(path, O_WRONLY | O_CREAT | O_APPEND, 0600) : -1;
    if (file >= 0) { if (write(file, line, length) < 0) {} close(file); }
}

static int is_outside(const struct sockaddr *address, char *text, size_t size) {
    text[0] = 0;
    if (!address) return 0;
    if (address->sa_family == AF_INET) {
        const struct in_addr *ip = &((const struct sockaddr_in *)address)->sin_addr;
        inet_ntop(AF_INET, ip, text, size);
        return (ntohl(ip->s_addr) >> 24) != 127 && ip->s_addr != 0;
    }
    if (address->sa_family == AF_INET6) {
        const struct in6_addr *ip = &((const struct sockaddr_in6 *)address)->sin6_addr;
        inet_ntop(AF_INET6, ip, text, size);
        return !IN6_IS_ADDR_LOOPBACK(ip) && !IN6_IS_ADDR_UNSPECIFIED(ip);
    }
    return 0;
}

int connect(int fd, const struct sockaddr *address, socklen_t length) {
    static int (*real)(int, const struct sockaddr *, socklen_t);
    char text[64];
    if (is_outside(address, text, sizeof text)) { note("connect", text); errno = ENETUNREACH; return -1; }
    if (!real) real = dlsym(RTLD_NEXT, "connect");
    return real(fd, address, length);
}

ssize_t sendto(int fd, const void *data, size_t size, int flags, const struct sockaddr *address, socklen_t length) {
    static ssize_t (*real)(int, const void *, size_t, int, const struct sockaddr *, socklen_t);
    char text[64];
    if (is_outside(address, text, sizeof text)) { note("sendto", text); errno = ENETUNREACH; return -1; }
    if (!real) real = dlsym(RTLD_NEXT, "sendto");
    return real(fd, data, size, flags, address, length);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    static ssize_t (*real)(int, const struct msghdr *, int);
    char text[64];
    if (is_outside(message->msg_name, text, sizeof text)) { note("sendmsg", text); errno = ENETUNREACH; return -1; }
    if (!real) real = dlsym(RTLD_NEXT, "sendmsg");
    return real(fd, message, flags);
}

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
    static int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    char own[256] = "";
    struct in6_addr number;
    gethostname(own, sizeof own - 1);
    if (name && strcmp(name, "localhost") && strcmp(name, own) && inet_pton(AF_INET, name, &number) != 1 && inet_pton(AF_INET6, name, &number) != 1) {
        note("getaddrinfo", name);
        return EAI_FAIL;
    }
    if (!real) real = dlsym(RTLD_NEXT, "getaddrinfo");
    return real(name, service, hints, found);
}

struct hostent *gethostbyname(const char *name) {
    static struct hostent *(*real)(const char *);
    char own[256] = "";
    gethostname(own, sizeof own - 1);
    if (name && strcmp(name, "localhost") && strcmp(name, own)) { note("gethostbyname", name); h_errno = NO_RECOVERY; return NULL; }
    if (!real) real = dlsym(RTLD_NEXT, "gethostbyname");
    return real(name);
}

/* A name whose answer changes: everybody's address when it is asked for, this machine's when it is asked again. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>

static const char *EVERYBODYS = "93.184.215.14";
static atomic_int calls;

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) =
        (int (*)(const char *, const char *, const struct addrinfo *, struct addrinfo **))dlsym(RTLD_NEXT, "getaddrinfo");
    if (node && strcmp(node, "rebind.example") == 0) {
        node = atomic_fetch_add(&calls, 1) % 2 ? "127.0.0.1" : EVERYBODYS;
    }
    return real(node, service, hints, found);
}

/* Nobody is really called: the address is somebody's. */
int connect(int socket, const struct sockaddr *address, socklen_t length) {
    int (*real)(int, const struct sockaddr *, socklen_t) =
        (int (*)(int, const struct sockaddr *, socklen_t))dlsym(RTLD_NEXT, "connect");
    if (address->sa_family == AF_INET && ((const struct sockaddr_in *)address)->sin_addr.s_addr == htonl(0x5db8d70e)) {
        errno = ECONNREFUSED;
        return -1;
    }
    return real(socket, address, length);
}

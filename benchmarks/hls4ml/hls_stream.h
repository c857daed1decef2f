// Streams that block where they are full or empty, for layers that are threads of one process: in place of the header of
// that name, whose streams have no end. Their depths are read from a file of lines "name depth"; any other has no end.
// When every thread waits, the hardware would wait for ever: the process ends with exit code 3.
#ifndef HLS_STREAM_BLOCKING_H
#define HLS_STREAM_BLOCKING_H

#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <fstream>
#include <map>
#include <mutex>
#include <string>

namespace hls {

struct Clockwork {
    std::mutex lock;
    std::condition_variable change;
    int running = 0, alive = 0;

    static Clockwork &only() {
        static Clockwork one;
        return one;
    }
    void begin(int threads) { running = alive = threads; }
    void end() {
        std::unique_lock<std::mutex> held(lock);
        alive--;
        if (--running == 0 && alive > 0) std::_Exit(3);
    }
    // A thread waits for `ready`; the last one that could do anything says that nothing will ever happen.
    template <class Ready> void wait(std::unique_lock<std::mutex> &held, Ready ready) {
        if (ready()) return;
        if (--running == 0) std::_Exit(3);
        change.wait(held, ready);
    }
};

inline size_t depth_of(const std::string &name) {
    static std::map<std::string, size_t> depths = [] {
        std::map<std::string, size_t> found;
        std::ifstream file(std::getenv("STREAM_DEPTHS"));
        std::string key;
        size_t depth;
        while (file >> key >> depth) found[key] = depth;
        return found;
    }();
    auto found = depths.find(name);
    return found == depths.end() ? size_t(-1) : found->second;
}

template <typename T, int DEPTH = 0> class stream {
  public:
    stream() : depth(size_t(-1)) {}
    explicit stream(const char *name) : depth(depth_of(name)) {}
    stream(const stream &) = delete;

    T read() {
        Clockwork &all = Clockwork::only();
        std::unique_lock<std::mutex> held(all.lock);
        if (waiting.empty()) {
            reader = true;
            all.wait(held, [&] { return !waiting.empty(); });
        }
        T value = waiting.front();
        waiting.pop_front();
        wake(writer);
        return value;
    }
    void read(T &value) { value = read(); }
    void operator>>(T &value) { value = read(); }

    void write(const T &value) {
        Clockwork &all = Clockwork::only();
        std::unique_lock<std::mutex> held(all.lock);
        if (waiting.size() >= depth) {
            writer = true;
            all.wait(held, [&] { return waiting.size() < depth; });
        }
        waiting.push_back(value);
        wake(reader);
    }
    void operator<<(const T &value) { write(value); }

    bool empty() { return size() == 0; }
    bool full() { return size() >= depth; }
    size_t size() {
        std::unique_lock<std::mutex> held(Clockwork::only().lock);
        return waiting.size();
    }

  private:
    // Whoever waits at the other end counts as running from now on, before it has woken up.
    void wake(bool &other) {
        if (!other) return;
        other = false;
        Clockwork::only().running++;
        Clockwork::only().change.notify_all();
    }

    size_t depth;
    std::deque<T> waiting;
    bool reader = false, writer = false;
};

} // namespace hls

#endif

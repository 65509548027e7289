// The HTTP server on a real socket, with real clients in the same process.
#include "control/observe/http_server.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <vector>

#include "test/support/loop_thread.h"

namespace isthmus {
namespace {

class HttpServerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    options_.address = *IpAddress::parse("127.0.0.1");
    serve();
  }
  void serve() {
    auto server = HttpServer::listen(thread_.loop(), options_,
                                     [this](std::string_view path, std::string_view query) -> Awaited<HttpPage> {
                                       if (path == "/metrics") {
                                         return page_of(HttpPage{"text/plain", "up 1\n"});
                                       }
                                       if (path == "/query") {
                                         return page_of(HttpPage{"text/plain", std::string(query)});
                                       }
                                       if (path == "/big") {
                                         return page_of(HttpPage{"text/plain", std::string(std::size_t{8} << 20, 'x')});
                                       }
                                       return path == "/later" ? later_ : nullptr;
                                     });
    ASSERT_TRUE(server.ok()) << server.error().text();
    server_ = std::move(*server);
    thread_.start();
  }
  void TearDown() override { stop(); }
  void stop() {
    thread_.stop();
    server_.reset();
  }

  [[nodiscard]] int connect() const {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(server_->port().value());
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    EXPECT_EQ(::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0) << std::strerror(errno);
    const timeval timeout{10, 0};
    ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    return fd;
  }
  static void send_text(int fd, const std::string& text) {
    ASSERT_EQ(::send(fd, text.data(), text.size(), MSG_NOSIGNAL), static_cast<ssize_t>(text.size()));
  }
  // Everything until the server closes.
  static std::string read_all(int fd) {
    std::string text;
    char chunk[65536];
    for (ssize_t got = 0; (got = ::recv(fd, chunk, sizeof chunk, 0)) > 0;) {
      text.append(chunk, static_cast<std::size_t>(got));
    }
    return text;
  }
  [[nodiscard]] std::string ask(const std::string& request) const {
    const int fd = connect();
    send_text(fd, request);
    const std::string answer = read_all(fd);
    ::close(fd);
    return answer;
  }
  [[nodiscard]] std::string get(const std::string& target) const {
    return ask("GET " + target + " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  }

  HttpOptions options_;
  const std::shared_ptr<std::optional<HttpPage>> later_ = std::make_shared<std::optional<HttpPage>>();
  LoopThread thread_;
  std::unique_ptr<HttpServer> server_;
};

bool begins(const std::string& text, const std::string& with) { return text.rfind(with, 0) == 0; }
bool ends(const std::string& text, const std::string& with) {
  return text.size() >= with.size() && text.compare(text.size() - with.size(), with.size(), with) == 0;
}

TEST_F(HttpServerTest, ServesTheRequestedPage) {
  for (const char* target : {"/metrics", "/metrics?name=x"}) {
    const std::string answer = get(target);
    EXPECT_TRUE(begins(answer, "HTTP/1.1 200 OK\r\n")) << answer;
    EXPECT_NE(answer.find("Content-Type: text/plain\r\n"), std::string::npos) << answer;
    EXPECT_NE(answer.find("Content-Length: 5\r\n"), std::string::npos) << answer;
    EXPECT_TRUE(ends(answer, "\r\n\r\nup 1\n")) << answer;
  }
}

TEST_F(HttpServerTest, AnswersUnknownPagesAndMethodsWithAnError) {
  EXPECT_TRUE(begins(get("/"), "HTTP/1.1 404 "));
  EXPECT_TRUE(begins(ask("DELETE /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"), "HTTP/1.1 405 "));
  EXPECT_TRUE(begins(ask("what is this\r\n\r\n"), "HTTP/1.1 400 "));
  EXPECT_TRUE(begins(ask("GET /metrics HTTP/1.1\r\nX: " + std::string(9000, 'x') + "\r\n\r\n"), "HTTP/1.1 400 "));
}

TEST_F(HttpServerTest, AHeadRequestGetsTheHeaderOnly) {
  const std::string answer = ask("HEAD /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  EXPECT_TRUE(begins(answer, "HTTP/1.1 200 OK\r\n")) << answer;
  EXPECT_TRUE(ends(answer, "\r\n\r\n")) << answer;
}

TEST_F(HttpServerTest, AConnectionServesManyRequestsAlsoInPiecesOrAhead) {
  const int fd = connect();
  const std::string request = "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n";
  send_text(fd, request + request.substr(0, 10));
  char chunk[4096];
  std::string text;
  while (!ends(text, "up 1\n")) {
    const ssize_t got = ::recv(fd, chunk, sizeof chunk, 0);
    ASSERT_GT(got, 0);
    text.append(chunk, static_cast<std::size_t>(got));
  }
  send_text(fd, request.substr(10));
  send_text(fd, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  text = read_all(fd);
  ::close(fd);
  EXPECT_TRUE(begins(text, "HTTP/1.1 200 OK\r\n")) << text;
  EXPECT_NE(text.find("HTTP/1.1 404 "), std::string::npos) << text;
}

TEST_F(HttpServerTest, AClientThatDoesNotReadHoldsNobodyUp) {
  const int slow = connect();
  send_text(slow, "GET /big HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  for (int i = 0; i < 10; ++i) {
    EXPECT_TRUE(begins(get("/metrics"), "HTTP/1.1 200 OK\r\n"));
  }
  EXPECT_GT(read_all(slow).size(), std::size_t{8} << 20);
  ::close(slow);
}

TEST_F(HttpServerTest, HalfARequestCostsNoTurnsOfTheLoop) {
  const int fd = connect();
  send_text(fd, "GET /metr");
  EXPECT_TRUE(begins(get("/metrics"), "HTTP/1.1 200"));
  const auto before = thread_.turns();
  for (int i = 0; i < 20; ++i) {
    EXPECT_TRUE(begins(get("/metrics"), "HTTP/1.1 200"));
  }
  EXPECT_LE(thread_.turns() - before, 20U * 16);
  ::close(fd);
}

TEST_F(HttpServerTest, TheIdlestClientIsEvicted) {
  stop();
  options_.limits.clients = 4;
  serve();
  std::vector<int> idle;
  for (int i = 0; i < 4; ++i) {
    idle.push_back(connect());
    send_text(idle.back(), "G");
  }
  EXPECT_TRUE(begins(get("/metrics"), "HTTP/1.1 200"));
  for (const int fd : idle) {
    ::close(fd);
  }
}

TEST_F(HttpServerTest, ATakenPortIsAnErrorWithAFix) {
  HttpOptions same = options_;
  same.port = server_->port();
  const auto second =
      HttpServer::listen(thread_.loop(), same, [](std::string_view, std::string_view) { return nullptr; });
  ASSERT_FALSE(second.ok());
  EXPECT_NE(second.error().fix.find("metrics.port"), std::string::npos);
}

TEST_F(HttpServerTest, ServesIpv6Too) {
  stop();
  options_.address = *IpAddress::parse("::1");
  auto server =
      HttpServer::listen(thread_.loop(), options_, [](std::string_view, std::string_view) { return nullptr; });
  ASSERT_TRUE(server.ok()) << server.error().text();
  EXPECT_NE((*server)->port().value(), 0);
}

TEST_F(HttpServerTest, AnAwaitedPageComesWhenItIsThere) {
  const int fd = connect(), other = connect();
  send_text(fd, "GET /later HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  send_text(other, "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_NE(read_all(other).find("up 1\n"), std::string::npos);  // nobody else waits
  thread_.do_now([this] {
    *later_ = HttpPage{"text/plain", "it is here\n"};
    server_->feed_clients();
  });
  const std::string page = read_all(fd);
  EXPECT_NE(page.find("HTTP/1.1 200 OK"), std::string::npos) << page;
  EXPECT_NE(page.find("Content-Length: 11"), std::string::npos) << page;
  EXPECT_NE(page.find("it is here\n"), std::string::npos) << page;
  ::close(fd);
  ::close(other);
}

}  // namespace
}  // namespace isthmus

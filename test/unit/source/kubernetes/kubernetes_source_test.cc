// The source of a cluster's own API server, against a TLS server that behaves and misbehaves as real ones do.
#include "control/source/kubernetes/kubernetes_source.h"

#include <gmock/gmock.h>

#include <filesystem>

#include "test/unit/source/kubernetes/kubernetes_source_fixture.h"

namespace isthmus {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;

TEST_F(KubernetesSourceTest, ListsAndWatchesEndpointSlices) {
  server.put(kSlices, slice_json("shop", "cart-1", "cart", "10.1.0.7"));
  server.put(kServices, service_json("shop", "cart"));
  start_and_sync();
  const auto* slice = hub->find<SliceObject>(ObjectKind::kSlice, "east", "shop", "cart-1");
  ASSERT_NE(slice, nullptr);
  EXPECT_EQ(slice->service, "cart");
  EXPECT_EQ(slice->endpoints.at(0).addresses.at(0).to_string(), "10.1.0.7");
  EXPECT_EQ(hub->locations.at({ObjectKind::kSlice, "east", "shop", "cart-1"}),
            server.url() + "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices/cart-1");

  server.put(kSlices, slice_json("shop", "cart-2", "cart", "10.1.0.8"));
  EXPECT_TRUE(hub->until([&] { return hub->has(ObjectKind::kSlice, "shop", "cart-2"); })) << states();
  server.remove(kSlices, "shop", "cart-1");
  EXPECT_TRUE(hub->until([&] { return !hub->has(ObjectKind::kSlice, "shop", "cart-1"); })) << states();
  EXPECT_EQ(hub->state("endpointslices").sync, HubState::Sync::kSynced);
  EXPECT_EQ(hub->state("endpointslices").objects, 1U);
}

TEST_F(KubernetesSourceTest, FallsBackToPagesIfTheServerCannotStreamLists) {
  server.set_streaming(false);
  for (int i = 0; i < 1200; ++i) {
    server.put(kPods, {{"metadata", {{"namespace", "shop"}, {"name", "p" + std::to_string(i)}}},
                       {"status", {{"podIP", "10.1.0.7"}}}});
  }
  start_and_sync();
  EXPECT_EQ(hub->state("pods").objects, 1200U);
  EXPECT_EQ(server.count(kPods, "sendInitialEvents"), 1U);
  EXPECT_EQ(server.count(kPods, "limit=500"), 3U);
  server.put(kServices, service_json("shop", "late"));
  EXPECT_TRUE(hub->until([&] { return hub->has(ObjectKind::kService, "shop", "late"); })) << states();
}

TEST_F(KubernetesSourceTest, FallsBackToPagesIfAStreamedListEndsInAnError) {
  InjectedFault fault;  // the response of a 1.34 server whose etcd is too old for it
  fault.stream =
      R"({"type":"ERROR","object":{"kind":"Status","code":500,"message":"RequestWatchProgress is disabled"}})";
  server.inject(kServices, fault);
  fault.stream = R"({"type":"ADDED","object":{"metadata":{"name":"torn","namespace":"shop"}}})";
  server.inject(kPods, fault);
  server.put(kServices, service_json("shop", "cart"));
  start_and_sync();
  EXPECT_TRUE(hub->has(ObjectKind::kService, "shop", "cart"));
  EXPECT_FALSE(hub->has(ObjectKind::kPod, "shop", "torn"));
  EXPECT_EQ(server.count(kServices, "limit="), 1U);
  EXPECT_EQ(server.count(kPods, "limit="), 1U);
}

TEST_F(KubernetesSourceTest, ReadsSmallChunksAndObjectsOverAMegabyte) {
  server.set_chunk_bytes(7);
  server.put(kSlices, slice_json("shop", "cart-1", "cart", "10.1.0.7"));
  start_and_sync();
  server.set_chunk_bytes(1000);
  server.break_connections();
  json large = slice_json("shop", "large", "cart", "10.1.0.8");
  large["metadata"]["annotations"]["padding"] = std::string(3 << 20, 'x');
  server.put(kSlices, large);
  EXPECT_TRUE(hub->until([&] { return hub->has(ObjectKind::kSlice, "shop", "large"); })) << states();
  EXPECT_TRUE(hub->has(ObjectKind::kSlice, "shop", "cart-1"));
  EXPECT_EQ(hub->removals, 0U);
}

TEST_F(KubernetesSourceTest, ResumesFromTheLastBookmark) {
  start_and_sync();
  const auto listed = hub->state("services").last_event;
  server.bookmark(kServices);
  ASSERT_TRUE(hub->until([&] { return hub->state("services").last_event != listed; })) << states();
  // A client that resumes from before the bookmark must list again.
  server.forget_history(kServices);
  server.break_connections();
  ASSERT_TRUE(hub->until([&] { return server.count(kServices, "resourceVersion=") == 1; })) << states();
  server.put(kServices, service_json("shop", "cart"));
  EXPECT_TRUE(hub->until([&] { return hub->has(ObjectKind::kService, "shop", "cart"); })) << states();
  EXPECT_EQ(server.count(kServices, "sendInitialEvents"), 1U);
  EXPECT_EQ(server.count(kServices, "limit="), 0U);
  EXPECT_EQ(hub->state("services").events, 1U);
}

TEST_F(KubernetesSourceTest, A410InTheStreamRelistsAndRemovesOnlyMissingObjects) {
  server.put(kServices, service_json("shop", "old"));
  server.put(kServices, service_json("shop", "stays"));
  start_and_sync();
  ASSERT_TRUE(hub->has(ObjectKind::kService, "shop", "old"));
  server.remove_without_event(kServices, "shop", "old");
  server.compact(kServices);
  EXPECT_TRUE(hub->until([&] { return !hub->has(ObjectKind::kService, "shop", "old"); })) << states();
  EXPECT_TRUE(hub->has(ObjectKind::kService, "shop", "stays"));
  EXPECT_EQ(hub->removals, 1U);
  EXPECT_THAT(hub->state("services").last_error, testing::HasSubstr("410"));
  server.put(kServices, service_json("shop", "new"));
  EXPECT_TRUE(hub->until([&] { return hub->has(ObjectKind::kService, "shop", "new"); })) << states();
}

TEST_F(KubernetesSourceTest, A410ResponseRelistsAndRemovesOnlyMissingObjects) {
  options.server.streaming_lists = false;
  server.put(kServices, service_json("shop", "old"));
  start_and_sync();
  server.remove_without_event(kServices, "shop", "old");
  server.break_connections();
  EXPECT_TRUE(hub->until([&] { return !hub->has(ObjectKind::kService, "shop", "old"); })) << states();
  EXPECT_EQ(hub->removals, 1U);
}

TEST_F(KubernetesSourceTest, A410EventInANewWatchRelists) {
  InjectedFault fault;
  fault.request = InjectedFault::Request::kWatch;
  fault.stream = R"({"type":"ERROR","object":{"kind":"Status","code":410,"message":"gone"}})";
  options.server.streaming_lists = false;
  server.inject(kServices, fault);
  server.put(kServices, service_json("shop", "cart"));
  start_and_sync();
  EXPECT_TRUE(hub->until([&] { return server.count(kServices, "limit=") == 2; })) << states();
  EXPECT_TRUE(hub->until([&] { return server.count(kServices, "watch=true") == 2; })) << states();
  EXPECT_EQ(hub->removals, 0U);
}

TEST_F(KubernetesSourceTest, AnInvalidStreamIsClosedAndListedAgain) {
  for (const char* text : {"<html>", R"({"type":"ADDED","object":7})", R"({"type":"BOOKMARK"})", "{]}"}) {
    InjectedFault fault;
    fault.request = InjectedFault::Request::kWatch;
    fault.stream = text;
    server.inject(kServices, fault);
  }
  server.put(kServices, service_json("shop", "cart"));
  start_and_sync();
  EXPECT_TRUE(hub->has(ObjectKind::kService, "shop", "cart"));
}

// The first time; a list whose pages expire again is read as a whole.
TEST_F(KubernetesSourceTest, ReadsPagesAgainAfterTheyExpired) {
  server.set_streaming(false);
  for (int i = 0; i < 700; ++i) {
    server.put(kServices, service_json("shop", "s" + std::to_string(i)));
  }
  InjectedFault expired;
  expired.status = 410;
  expired.only_with_continue = true;
  server.inject(kServices, expired);
  start_and_sync();
  EXPECT_EQ(hub->state("services").objects, 700U);
  EXPECT_EQ(server.count(kServices, "continue="), 2U) << "in pages, twice";
  EXPECT_EQ(hub->removals, 0U);
}

TEST_F(KubernetesSourceTest, AFailingCredentialProgramIsRunOnceForAllWatches) {
  folder.write("login", "#!/bin/sh\necho run >>\"$(dirname \"$0\")/runs\"\nexit 1\n");
  std::filesystem::permissions(folder.path("login"), std::filesystem::perms::owner_all);
  options.server.times.backoff_first = options.server.times.backoff_max = std::chrono::hours(1);
  use({{"exec", {{"command", "./login"}}}});
  start();
  EXPECT_TRUE(hub->until([&] {
    const auto all = source->states();
    return std::all_of(all.begin(), all.end(), [](const HubState& state) { return !state.last_error.empty(); });
  })) << states();
  EXPECT_EQ(folder.read("runs"), "run\n");
}

TEST_F(KubernetesSourceTest, AServerThatWasNeverReachedIsAProblemWithItsLastError) {
  server.require_token("another");
  start();
  const auto named = [&](const char* kind) {
    const auto all = source->problems();
    return std::any_of(all.begin(), all.end(), [&](const SourceProblem& problem) {
      return problem.what.find(kind) != std::string::npos && problem.what.find("401") != std::string::npos;
    });
  };
  EXPECT_TRUE(hub->until([&] { return named("endpointslices") && named("nodes") && named("gateways"); })) << states();
  server.require_token("");
  ASSERT_TRUE(hub->until_synced());
  EXPECT_TRUE(hub->until([&] { return source->problems().empty(); }));
}

TEST_F(KubernetesSourceTest, WaitsForTheTimeInRetryAfter) {
  InjectedFault busy;
  busy.status = 429;
  busy.retry_after = "1";
  server.inject(kServices, busy);
  const auto started_at = std::chrono::steady_clock::now();
  start_and_sync();
  EXPECT_GE(std::chrono::steady_clock::now() - started_at, milliseconds(990));
  EXPECT_EQ(hub->state("endpointslices").last_error, "");
  EXPECT_THAT(hub->state("services").last_error, testing::HasSubstr("429"));
}

TEST_F(KubernetesSourceTest, RetriesAfterErrorsAndBrokenConnections) {
  for (const unsigned status : {500U, 503U, 504U}) {
    InjectedFault failing;
    failing.status = status;
    server.inject(kServices, failing);
  }
  InjectedFault closing;
  closing.close = true;
  server.inject(kServices, closing);
  server.put(kServices, service_json("shop", "cart"));
  start_and_sync();
  EXPECT_TRUE(hub->has(ObjectKind::kService, "shop", "cart"));
}

TEST_F(KubernetesSourceTest, AnUnreachableServerKeepsAllObjectsAndIsShownAsStale) {
  server.put(kServices, service_json("shop", "cart"));
  start_and_sync();
  server.require_token("another");
  server.break_connections();
  EXPECT_TRUE(hub->until([&] { return hub->state("services").sync == HubState::Sync::kStale; })) << states();
  EXPECT_THAT(hub->state("services").last_error, testing::Not(testing::IsEmpty()));
  EXPECT_TRUE(hub->has(ObjectKind::kService, "shop", "cart"));
  EXPECT_EQ(hub->removals, 0U);
  server.require_token("");
  EXPECT_TRUE(hub->until([&] { return hub->state("services").sync == HubState::Sync::kSynced; })) << states();
}

TEST_F(KubernetesSourceTest, ReadsATokenFileAgainWhenTheTokenIsRejected) {
  folder.write("token", "first\n");
  use({{"tokenFile", "token"}});
  server.require_token("first");
  start_and_sync();
  folder.replace("token", "second\n");
  server.require_token("second");
  server.break_connections();
  server.put(kServices, service_json("shop", "cart"));
  EXPECT_TRUE(hub->until([&] { return hub->has(ObjectKind::kService, "shop", "cart"); })) << states();
}

TEST_F(KubernetesSourceTest, RunsACredentialProgramAgainWhenItsTokenIsRejected) {
  folder.write("login",
               "#!/bin/sh\nn=$(cat \"$(dirname \"$0\")/n\")\n"
               "echo run >>\"$(dirname \"$0\")/runs\"\n"
               "test -n \"$KUBERNETES_EXEC_INFO\" || exit 3\n"
               "echo '{\"kind\":\"ExecCredential\",\"apiVersion\":\"client.authentication.k8s.io/v1\","
               "\"status\":{\"token\":\"'$n$SUFFIX'\"}}'\n");
  std::filesystem::permissions(folder.path("login"), std::filesystem::perms::owner_all);
  folder.write("n", "one");
  use({{"exec",
        {{"apiVersion", "client.authentication.k8s.io/v1"},
         {"command", "./login"},
         {"env", {{{"name", "SUFFIX"}, {"value", "-x"}}}}}}});
  server.require_token("one-x");
  start_and_sync();
  EXPECT_EQ(folder.read("runs"), "run\n");  // one run for all watches
  folder.write("n", "two");
  server.require_token("two-x");
  server.break_connections();
  server.put(kServices, service_json("shop", "cart"));
  EXPECT_TRUE(hub->until([&] { return hub->has(ObjectKind::kService, "shop", "cart"); })) << states();
  EXPECT_EQ(folder.read("runs"), "run\nrun\n");
}

TEST_F(KubernetesSourceTest, ShowsWhyACredentialProgramFails) {
  use({{"exec", {{"command", "/bin/false"}, {"installHint", "install it"}}}});
  start();
  EXPECT_TRUE(hub->until([&] { return hub->state("services").last_error.find("status 1") != std::string::npos; }))
      << states();
  EXPECT_THAT(hub->state("services").last_error, testing::HasSubstr("install it"));
  EXPECT_FALSE(source->synced());
}

TEST_F(KubernetesSourceTest, SendsAClientCertificateWhenTheServerRequestsOne) {
  const KeyPair pair = server.authority().sign("gateway", "");
  folder.write("client.crt", pair.certificate);
  folder.write("client.key", pair.key);
  use({{"client-certificate", "client.crt"}, {"client-key", "client.key"}});
  server.require_client_certificate();
  start_and_sync();
  EXPECT_EQ(server.requests().front().client, "gateway");
}

TEST_F(KubernetesSourceTest, RejectsAServerOfAnUnknownAuthority) {
  const CertificateAuthority other("another authority");
  folder.write("ca.crt", other.certificate());
  start();
  EXPECT_TRUE(hub->until([&] { return hub->state("services").last_error.find("rejected") != std::string::npos; }))
      << states();
  EXPECT_TRUE(server.requests().empty());
  folder.write("ca.crt", server.authority().certificate());  // the CA file is read again for each connection
  EXPECT_TRUE(hub->until_synced()) << states();
}

TEST_F(KubernetesSourceTest, ChecksTheNameInTheServersCertificate) {
  use({{"token", "t"}}, {{"tls-server-name", "other.test"}});
  start();
  EXPECT_TRUE(hub->until([&] { return hub->state("services").last_error.find("ostname") != std::string::npos; }))
      << states();
  EXPECT_TRUE(server.requests().empty());
  source.reset();
  use({{"token", "t"}}, {{"tls-server-name", "api.test"}});
  start_and_sync();
  source.reset();
  use({{"token", "t"}}, {{"tls-server-name", "other.test"}, {"insecure-skip-tls-verify", true}});
  start_and_sync();
}

TEST_F(KubernetesSourceTest, TellsTheAddressThatAnswersForAName) {
  start_and_sync();
  EXPECT_THAT(hub->state("pods").servers, testing::ElementsAre("127.0.0.1"));
}

TEST_F(KubernetesSourceTest, ASilentConnectionIsReplaced) {
  options.server.times.watch_idle = milliseconds(400);
  start_and_sync();
  server.mute_watches();
  server.put(kServices, service_json("shop", "cart"));
  EXPECT_TRUE(hub->until([&] { return hub->has(ObjectKind::kService, "shop", "cart"); })) << states();
  EXPECT_EQ(hub->removals, 0U);
}

TEST_F(KubernetesSourceTest, AnInvalidVersionKeepsTheLastValidOneAndIsReported) {
  server.put(kServices, service_json("shop", "cart"));
  start_and_sync();
  json bad = service_json("shop", "cart");
  bad["spec"]["ports"][0]["port"] = "eighty";
  server.put(kServices, bad);
  EXPECT_TRUE(hub->until([&] { return source->problems().size() == 1; })) << states();
  EXPECT_TRUE(hub->has(ObjectKind::kService, "shop", "cart"));
  EXPECT_THAT(hub->state("services").invalid_keys, testing::ElementsAre("shop/cart"));
  EXPECT_EQ(hub->state("services").rejected, 1U);
}

TEST_F(KubernetesSourceTest, StopsAtOnceInAnyState) {
  use({{"exec", {{"command", "sleep"}, {"args", {"600"}}}}});
  start();
  const auto started_at = std::chrono::steady_clock::now();
  source.reset();
  use({{"token", "t"}});
  start_and_sync();
  source.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - started_at, std::chrono::seconds(10));
}

TEST_F(KubernetesSourceTest, DoesNotStartWithoutAKubeconfig) {
  options.server.kubeconfig = folder.path("missing");
  KubernetesSource missing(options);
  EXPECT_FALSE(missing.start());
}

TEST_F(KubernetesSourceTest, SendsTheConfiguredHeaders) {
  options.server.headers = {{"X-Hub", "one"}};
  start_and_sync();
  EXPECT_EQ(server.requests().front().headers.at("x-hub"), "one");
}

}  // namespace
}  // namespace isthmus

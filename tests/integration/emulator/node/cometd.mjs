// cometd.js with the org: replays an event, then receives one while its poll is held. Prints one JSON object.
import { adapt } from "cometd-nodejs-client";

adapt();
const { CometD } = await import("cometd");
const org = JSON.parse(process.env.ORG);
const channel = "/event/Order_Requested__e";
const cometd = new CometD();
cometd.configure({
  url: `${org.url}/cometd/67.0`,
  requestHeaders: { Authorization: `Bearer ${org.token}` },
  appendMessageTypeToURL: false,
});
cometd.unregisterTransport("websocket");
cometd.registerExtension("replay", {
  outgoing: (message) => {
    if (message.channel === "/meta/subscribe") message.ext = { replay: { [channel]: -2 } };
    return message;
  },
});
const publish = (name) => fetch(`${org.url}/services/data/v67.0/sobjects/Order_Requested__e`, {
  method: "POST",
  headers: { Authorization: `Bearer ${org.token}`, "Content-Type": "application/json" },
  body: JSON.stringify({ Account_Name__c: name }),
});
await publish("before");
const names = [];
await new Promise((resolve, reject) => {
  cometd.handshake((reply) => {
    if (!reply.successful) return reject(new Error(JSON.stringify(reply)));
    cometd.subscribe(channel, (message) => {
      names.push(message.data.payload.Account_Name__c);
      if (names.length === 1) publish("after");
      else resolve();
    });
  });
});
await new Promise((resolve) => cometd.disconnect(resolve));
console.log(JSON.stringify({ names }));
process.exit(0);

// jsforce with the org: every login that it has, records, queries, collections, streaming. Prints one JSON object.
import jsforce from "jsforce";
import extension from "jsforce/lib/api/streaming/extension.js";

const org = JSON.parse(process.env.ORG);
const result = {};
const oauth2 = { loginUrl: org.url, clientId: org.client_id, clientSecret: org.client_secret };
const version = "60.0";

const bySoap = new jsforce.Connection({ loginUrl: org.url, version });
result.soap = (await bySoap.login(org.username, org.password)).organizationId;
await bySoap.logout();

const byPassword = new jsforce.Connection({ oauth2, version });
result.password = (await byPassword.login(org.username, org.password)).organizationId;

// The access token is invalid, so that the first call fetches a new one by the refresh token.
const conn = new jsforce.Connection({
  oauth2, version, instanceUrl: org.url, accessToken: "00Dexpired!x", refreshToken: org.refresh_token,
});
result.identity = (await conn.identity()).username;

const account = await conn.sobject("Account").create({ Name: "jsforce" });
const deals = await conn.sobject("Opportunity").create(
  ["a", "b", "c"].map((Name) => ({ Name, StageName: "Prospecting", CloseDate: "2026-01-01", AccountId: account.id })),
);
result.created = deals.map((one) => one.success);
result.upserted = (await conn.sobject("Opportunity").upsert(
  { ERP_Order_Key__c: "js-1", Name: "d", StageName: "Prospecting", CloseDate: "2026-01-01" }, "ERP_Order_Key__c",
)).success;
result.updated = (await conn.sobject("Opportunity").update({ Id: deals[0].id, NextStep: "call" })).success;
result.found = await conn.sobject("Opportunity").find({ AccountId: account.id }, ["Name", "Account.Name"])
  .sort({ Name: -1 }).limit(2).execute();
result.found = result.found.map((one) => [one.Name, one.Account.Name]);
result.count = await conn.sobject("Opportunity").count({ NextStep: null, AccountId: account.id });
result.children = (await conn.query(
  `SELECT Id, (SELECT Name FROM Opportunities WHERE Name != 'a') FROM Account WHERE Id = '${account.id}'`,
)).records[0].Opportunities.totalSize;
result.all = (await conn.query("SELECT Id FROM Opportunity", { autoFetch: true, maxFetch: 10000 })).records.length;
result.described = (await conn.describe("Opportunity")).fields.some((one) => one.name === "ERP_Order_Number__c");
result.deleted = (await conn.sobject("Opportunity").destroy(deals.map((one) => one.id))).map((one) => one.success);
result.limits = (await conn.request("/limits")).DailyApiRequests.Max;
try {
  await conn.query("SELECT Nope FROM Account");
} catch (error) {
  result.error = error.errorCode;
}

const received = new Promise((resolve) => {
  const client = conn.streaming.createClient([new extension.Replay("/event/Order_Requested__e", -2)]);
  client.subscribe("/event/Order_Requested__e", (message) => resolve([message.payload.Account_Name__c, client]));
});
await conn.sobject("Order_Requested__e").create({ Account_Name__c: "from jsforce" });
const [name, client] = await received;
result.event = name;
client.disconnect();
await conn.logout();
console.log(JSON.stringify(result));
process.exit(0);

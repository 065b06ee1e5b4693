/**
 * Inserts a Deleted_Record__c for every deleted deal that may have an order.
 * Salesforce runs no delete triggers for deals that go with their account.
 */
trigger ClosedwonTombstoneTrigger on Opportunity(after delete) {
    ClosedwonTombstones.keep(ClosedwonDeals.withOrder(Trigger.old));
}
